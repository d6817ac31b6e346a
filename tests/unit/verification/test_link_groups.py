"""Names that are one file on one side only are found, and named with each other."""

from tests.unit.verification.metadata.dsg_documents import write_documents
from tests.unit.verification.snapshot_pair import World


def test_a_group_of_hard_links_that_was_split_is_found(world: World) -> None:
    (world.target / "d" / "h2").unlink()
    (world.target / "d" / "h2").write_bytes(b"linked")
    world.copy_times()
    assert {attribute for _, attribute in world.found()} == {"hard links"}


def test_hard_links_that_the_source_does_not_have_are_found(world: World) -> None:
    for root in (world.source, world.target):
        (root / "same").write_bytes(b"linked")
    (world.target / "same").unlink()
    (world.target / "same").hardlink_to(world.target / "h1")
    world.copy_times()
    write_documents(world.target, 1)
    assert {attribute for _, attribute in world.found()} == {"hard links"}


def test_a_hard_link_that_joined_another_group_is_found(world: World) -> None:
    for root in (world.source, world.target):
        (root / "g1").write_bytes(b"linked")
        (root / "g2").hardlink_to(root / "g1")
        (root / "g3").hardlink_to(root / "g1")
    (world.target / "g3").unlink()
    (world.target / "g3").hardlink_to(world.target / "h1")
    world.copy_times()
    write_documents(world.target, 1)
    assert {attribute for _, attribute in world.found()} == {"hard links"}


def test_the_sentence_names_both_paths_and_the_side_on_which_they_are_one_file(
    world: World,
) -> None:
    for root in (world.source, world.target):
        (root / "same").write_bytes(b"linked")
    (world.target / "same").unlink()
    (world.target / "same").hardlink_to(world.target / "h1")
    world.copy_times()
    write_documents(world.target, 1)
    sentences = [str(one) for one in world.verify().discrepancies]
    assert sentences == ["same: the same file as h1 in the target, another file in the source"]


def test_a_name_that_left_its_group_is_shown_with_the_first_name_of_the_group(
    world: World,
) -> None:
    (world.target / "d" / "h2").unlink()
    (world.target / "d" / "h2").write_bytes(b"linked")
    world.copy_times()
    (found,) = world.verify().discrepancies
    expected = "d/h2: another file in the target, the same file as h1 in the source"
    assert str(found) == expected
