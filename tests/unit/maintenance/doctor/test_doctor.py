"""What is called left over, and what is removed: on real directories and a pool in memory.

Pins need a real btrfs; here are the directories around them.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from dsgmigd.cli import main
from dsgmigd.cli.doctor import to_json, to_text
from dsgmigd.doctor.examine import Doctor
from dsgmigd.doctor.leftover import Findings, Leftover, Treatment
from dsgmigd.marks import SOURCE_IDENTITY
from dsgmigd.names import RepoName, SnapshotName, parse_dataset_name
from dsgmigd.pins import PINS_DIRECTORY
from dsgmigd.places import Places
from dsgmigd.spool import Spool
from dsgmigd.staging import Staging
from dsgmigd.zfs.dataset import PROPERTY_PREFIX, Zfs
from tests.unit.fake_zfs import FakeZfs

AREA = "zsd/.dsgmigd"
VIEW, STAGING, TARGET = f"{AREA}/views/SV", f"{AREA}/staging/SV", "zsd/SV"
SV = RepoName("SV")
ID = "0b8a5d6c-6f0a-4f3e-9d52-0d6a3a3f7f11"
REMOVE: tuple[Treatment, ...] = ("remove",)
ALL: tuple[Treatment, ...] = ("remove", "discard")


class GuardedZfs(FakeZfs):
    """A zfs that destroys, and says so, only on behalf of whoever holds the repository's lock."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.destroyed: list[str] = []
        self.makings = 0
        self.before: dict[int, Callable[[], object]] = {}

    def on_behalf_of(self, keep_descriptors: tuple[int, ...]) -> "Bound":
        """Return what runs programs; what stands in `before` for this making happens first."""
        self.makings += 1
        self.before.get(self.makings, int)()
        return Bound(self, keep_descriptors)


@dataclass
class Bound:
    """What stands for `Commands`: it knows which descriptors its children would hold."""

    zfs: GuardedZfs
    descriptors: tuple[int, ...]

    def output(
        self,
        *argv: str,
        timeout_seconds: float = 120,
        keep_descriptors: tuple[int, ...] = (),
    ) -> str:
        if argv[1] == "destroy":
            (descriptor,) = self.descriptors
            assert os.readlink(f"/proc/self/fd/{descriptor}").endswith(".dsgmigd/locks/SV")
            self.zfs.destroyed.append(argv[-1])
        return self.zfs.output(
            *argv, timeout_seconds=timeout_seconds, keep_descriptors=keep_descriptors
        )


@dataclass
class World:
    """A spool, a source root and a pool, with what a dead request left of SV in them."""

    spool: Spool
    root: Path
    zfs: GuardedZfs

    @property
    def pins(self) -> Path:
        return self.root / PINS_DIRECTORY

    @property
    def work(self) -> Path:
        return Path(self.spool.work_directory)

    def examine(self, treatments: tuple[Treatment, ...] = ()) -> Findings:
        return Doctor(
            self.spool,
            source_root=str(self.root),
            parent=parse_dataset_name("zsd"),
            area=AREA,
            commands=lambda *, keep_descriptors: self.zfs.on_behalf_of(keep_descriptors),
        ).examine(treatments)

    def staging(self) -> Staging:
        places = Places(parse_dataset_name("zsd"), AREA, SV)
        return Staging(Zfs(self.zfs, sleep=lambda _: None), places, ID)

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def claim(self, name: str = "SV.claim.1") -> Path:
        return self.write(Path(self.spool.directory) / name)


@pytest.fixture
def world(tmp_path: Path) -> World:
    for name in ("spool", "source", "pool"):
        (tmp_path / name).mkdir()
    spool = Spool(str(tmp_path / "spool"))
    spool.prepare()
    made = World(spool, tmp_path / "source", GuardedZfs(tmp_path / "pool"))
    made.staging().prepare_area()
    return made


@pytest.fixture
def interrupted(world: World) -> World:
    """Killed while s2 was verified: a pin directory, a view, two snapshots, one of them proven."""
    (world.pins / f"SV.{ID}").mkdir(parents=True)
    staging = world.staging()
    staging.create()
    for number in (1, 2):
        staging.snapshot(SnapshotName(number), {SOURCE_IDENTITY: "u"})
    staging.mark_verified(STAGING, SnapshotName(1), "complete")
    mark = f"{PROPERTY_PREFIX}request={ID}"
    world.zfs.output("zfs", "clone", "-o", mark, f"{STAGING}@s2", VIEW)
    return world


def kinds(findings: Findings) -> list[str]:
    assert findings.problems == ()
    return sorted(leftover.kind for leftover in findings.leftovers)


def only(findings: Findings, kind: str | None = None) -> Leftover:
    (found,) = [one for one in findings.leftovers if kind in {None, one.kind}]
    return found


def pool_and_source(world: World) -> tuple[list[str], list[str]]:
    paths = [str(path) for top in (world.root, world.work) for path in top.rglob("*")]
    return world.zfs.names(), sorted(paths)


# Whose it is.


def test_where_nobody_died_nothing_is_left_over(world: World) -> None:
    assert world.examine() == Findings((), ())
    assert world.examine().is_clean


def test_what_a_dead_request_left_is_listed_with_its_request_and_nothing_is_touched(
    interrupted: World,
) -> None:
    before = pool_and_source(interrupted)
    findings = interrupted.examine()
    assert kinds(findings) == ["pins", "staging", "view"]
    assert {(one.repo, one.request_id) for one in findings.leftovers} == {("SV", ID)}
    assert not findings.is_clean
    assert only(findings, "staging").why.startswith("verified snapshots: 1;")
    assert pool_and_source(interrupted) == before


def test_a_fix_removes_pins_and_view_and_keeps_the_work(interrupted: World) -> None:
    findings = interrupted.examine(REMOVE)
    assert interrupted.zfs.destroyed == [VIEW]
    assert not interrupted.pins.exists()
    assert {one.kind: one.is_removed for one in findings.leftovers} == {
        "pins": True,
        "view": True,
        "staging": False,
    }
    assert not findings.is_clean, "the work is still there"
    assert kinds(interrupted.examine()) == ["staging"]


def test_work_is_given_up_by_explicit_wish_only(interrupted: World) -> None:
    findings = interrupted.examine(ALL)
    assert findings.is_clean
    assert interrupted.zfs.destroyed == [VIEW, f"{STAGING}@s2", f"{STAGING}@s1", STAGING]
    assert interrupted.examine() == Findings((), ())


@pytest.mark.parametrize("claim", ["SV.claim.1", "SV.claim.77"])
def test_what_a_claim_is_going_to_need_is_not_left_over(interrupted: World, claim: str) -> None:
    interrupted.claim(claim)
    before = pool_and_source(interrupted)
    assert interrupted.examine(ALL) == Findings((), ())
    assert pool_and_source(interrupted) == before


def test_a_claim_protects_its_own_repository_only(interrupted: World) -> None:
    interrupted.claim("CO.claim.1")
    assert kinds(interrupted.examine()) == ["pins", "staging", "view"]


def test_what_somebody_works_on_is_not_left_over(interrupted: World) -> None:
    lock = interrupted.spool.lock_repository(SV)
    assert lock is not None
    before = pool_and_source(interrupted)
    assert interrupted.examine(ALL) == Findings((), ())
    assert pool_and_source(interrupted) == before
    lock.release()


def test_a_claim_that_comes_after_the_listing_is_seen_before_anything_is_removed(
    interrupted: World,
) -> None:
    before = pool_and_source(interrupted)
    # Each of the three places is listed by commands of its own; the last comes after the datasets.
    interrupted.zfs.before[3] = interrupted.claim
    assert interrupted.examine(ALL) == Findings((), ())
    assert pool_and_source(interrupted) == before
    assert interrupted.zfs.makings > 3


def test_a_waiting_request_needs_the_work_but_neither_pins_nor_view(interrupted: World) -> None:
    interrupted.claim("SV.request")
    findings = interrupted.examine(ALL)
    assert kinds(findings) == ["pins", "view"]
    assert findings.is_clean
    assert interrupted.zfs.destroyed == [VIEW]


def test_locks_are_free_again_afterwards(interrupted: World) -> None:
    interrupted.examine(ALL)
    lock = interrupted.spool.lock_repository(SV)
    assert lock is not None
    lock.release()


# Datasets.


@pytest.mark.parametrize("name", [VIEW, STAGING, f"{AREA}/staging/-odd", f"{AREA}/views/x.claim"])
def test_a_dataset_without_our_mark_is_never_touched(world: World, name: str) -> None:
    world.zfs.output("zfs", "create", name)
    found = only(world.examine(ALL))
    assert (found.kind, found.where, found.treatment) == ("foreign", name, "look")
    assert world.zfs.destroyed == []


def test_a_mark_that_is_only_inherited_is_none(world: World) -> None:
    world.zfs.output("zfs", "set", f"{PROPERTY_PREFIX}request={ID}", f"{AREA}/staging")
    world.zfs.output("zfs", "create", STAGING)
    assert only(world.examine(ALL)).kind == "foreign"


def test_what_is_not_ours_is_named_also_where_somebody_works(world: World) -> None:
    world.zfs.output("zfs", "create", VIEW)
    world.claim()
    assert only(world.examine()).where == VIEW


@pytest.mark.parametrize(
    "hung_on", [("create", f"{STAGING}/child"), ("snapshot", f"{STAGING}@mine")]
)
def test_a_staging_dataset_with_something_of_others_is_never_touched(
    interrupted: World, hung_on: tuple[str, str]
) -> None:
    interrupted.zfs.output("zfs", *hung_on)
    found = only(interrupted.examine(ALL), "foreign")
    assert found.where == STAGING
    assert hung_on[1].rpartition("@")[2] in found.why
    assert interrupted.zfs.destroyed == [VIEW]


@pytest.mark.parametrize("hung_on", [("create", f"{VIEW}/child"), ("snapshot", f"{VIEW}@mine")])
def test_a_view_with_something_of_others_stays_and_so_does_what_it_shows(
    interrupted: World, hung_on: tuple[str, str]
) -> None:
    interrupted.zfs.output("zfs", *hung_on)
    findings = interrupted.examine(ALL)
    assert only(findings, "foreign").where == VIEW
    assert "may show a snapshot" in str(only(findings, "staging").error)
    assert interrupted.zfs.destroyed == []


def test_what_is_no_clone_is_no_view_and_stays(world: World) -> None:
    """It would hold data of its own."""
    world.zfs.output("zfs", "create", "-o", f"{PROPERTY_PREFIX}request={ID}", VIEW)
    assert only(world.examine(ALL)).kind == "foreign"
    assert VIEW in world.zfs.names()


def test_a_removal_that_fails_is_told_and_the_rest_goes_on(interrupted: World) -> None:
    interrupted.zfs.output("zfs", "clone", f"{STAGING}@s1", "zsd/mine")
    findings = interrupted.examine(ALL)
    failed = only(findings, "staging")
    assert "has dependent clones" in str(failed.error)
    assert not failed.is_removed
    assert not findings.is_clean
    assert only(findings, "pins").is_removed


@pytest.mark.parametrize("is_extended", [True, False])
def test_the_middle_of_a_publication_is_never_given_up(world: World, is_extended: bool) -> None:  # noqa: FBT001
    """Users have no dataset then: only a migration brings one back."""
    staging = world.staging()
    staging.create()
    staging.snapshot(SnapshotName(1), {})
    staging.publish("20260101T000000Z", staging.read_target())
    staging.clone_target(SnapshotName(1)) if is_extended else staging.create()
    world.zfs.output("zfs", "rename", TARGET, f"{AREA}/replaced/SV-20260102T000000Z")
    if is_extended:
        world.zfs.output("zfs", "promote", STAGING)
    before = world.zfs.names()
    found = only(world.examine(ALL), "staging")
    assert found.treatment == "look"
    assert "`dsgmigd migrate SV` ends it" in found.why
    assert world.zfs.names() == before


def test_an_old_replaced_dataset_of_another_repository_says_nothing(interrupted: World) -> None:
    interrupted.zfs.output("zfs", "create", f"{AREA}/replaced/SV-2-20260102T000000Z")
    assert only(interrupted.examine(), "staging").treatment == "discard"


def test_a_replaced_dataset_is_kept_and_is_no_reason_to_do_anything(world: World) -> None:
    name = f"{AREA}/replaced/SV-2-20260102T030405Z"
    world.zfs.output("zfs", "create", name)
    (world.zfs.mountpoint(name) / "file").write_bytes(b"x" * 2_500_000)
    findings = world.examine(ALL)
    kept = only(findings)
    assert (kept.kind, kept.repo, kept.where, kept.treatment) == ("replaced", "SV-2", name, "keep")
    assert "20260102T030405Z" in kept.why
    assert "2.5 MB" in kept.why
    assert findings.is_clean
    assert name in world.zfs.names()


@pytest.mark.parametrize("name", ["SV", "SV-T1", "-20260102T030405Z"])
def test_a_replaced_dataset_of_another_name_is_not_ours(world: World, name: str) -> None:
    world.zfs.output("zfs", "create", f"{AREA}/replaced/{name}")
    assert only(world.examine(ALL)).kind == "foreign"


# Probes.


@pytest.fixture
def probe(world: World) -> Path:
    world.spool.lock_repository(SV).release()  # type: ignore[union-attr]
    place = world.zfs.mountpoint(f"{AREA}/staging") / ".probe-abc"
    place.mkdir()
    (place / "file").touch()
    return place


def test_a_probe_is_removed_when_nobody_is_at_work(world: World, probe: Path) -> None:
    assert only(world.examine()).where == str(probe)
    assert world.examine(REMOVE).is_clean
    assert not probe.exists()


def test_a_probe_may_be_that_of_anybody_who_is_at_work(world: World, probe: Path) -> None:
    lock = world.spool.lock_repository(SV)
    assert lock is not None
    assert world.examine(ALL) == Findings((), ())
    assert probe.exists()
    lock.release()


def test_a_probe_holds_nothing(world: World, probe: Path) -> None:
    (probe / "file").write_text("something")
    (probe.parent / "other").touch()
    assert only(world.examine(ALL)).kind == "foreign"
    assert (probe / "file").read_text() == "something"


# Pins.


def test_an_empty_directory_of_pins_goes_with_the_area_around_it(world: World) -> None:
    (world.pins / f"SV.with.dots.{ID}").mkdir(parents=True)
    found = only(world.examine())
    assert (found.kind, found.repo, found.request_id) == ("pins", "SV.with.dots", ID)
    assert world.examine(REMOVE).is_clean
    assert not world.pins.exists()


@pytest.mark.parametrize("name", ["SV", "SV.r1", ID, f"SV-norm.{ID}", f"SV.{ID.upper()}", "x y"])
def test_a_directory_of_another_name_among_the_pins_is_not_ours(world: World, name: str) -> None:
    (world.pins / name).mkdir(parents=True)
    assert only(world.examine(ALL)).where == str(world.pins / name)
    assert only(world.examine(ALL)).kind == "foreign"
    assert (world.pins / name).is_dir()


@pytest.mark.parametrize("name", ["s1", "s01", "notes"])
def test_what_is_no_snapshot_in_a_directory_of_pins_is_not_ours(world: World, name: str) -> None:
    kept = world.write(world.pins / f"SV.{ID}" / name / "file")
    found = only(world.examine(ALL))
    assert (found.kind, found.where) == ("foreign", str(kept.parent))
    assert kept.exists()


def test_a_link_or_a_file_in_place_of_pins_is_not_followed(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / f"SV.{ID}").mkdir(parents=True)
    world.pins.mkdir()
    (world.pins / f"SV.{ID}").symlink_to(outside)
    world.write(world.pins / f"CO.{ID}")
    assert kinds(world.examine(ALL)) == ["foreign", "foreign"]
    (world.pins / f"SV.{ID}").unlink()
    (world.pins / f"CO.{ID}").unlink()
    world.pins.rmdir()
    world.pins.symlink_to(outside)
    assert only(world.examine(ALL)).where == str(world.pins)
    assert (outside / f"SV.{ID}").is_dir()


# What cannot be looked at.


def test_a_missing_source_root_is_told_and_the_rest_is_looked_at(interrupted: World) -> None:
    (interrupted.pins / f"SV.{ID}").rmdir()
    interrupted.pins.rmdir()
    interrupted.root.rmdir()
    findings = interrupted.examine()
    (problem,) = findings.problems
    assert "source root" in problem
    assert [one.kind for one in findings.leftovers] == ["view", "staging"]


def test_a_missing_pool_is_told_and_the_rest_is_looked_at(interrupted: World) -> None:
    interrupted.zfs.datasets.clear()
    findings = interrupted.examine(REMOVE)
    (problem,) = findings.problems
    assert "pool zsd is not there" in problem
    assert only(findings).kind == "pins"
    assert not findings.is_clean, "not everything could be looked at"
    assert not interrupted.pins.exists()


def test_a_missing_target_parent_is_told(world: World) -> None:
    findings = Doctor(
        world.spool,
        source_root=str(world.root),
        parent=parse_dataset_name("zsd/absent"),
        area="zsd/absent/.dsgmigd",
        commands=lambda *, keep_descriptors: world.zfs.on_behalf_of(keep_descriptors),
    ).examine()
    assert findings.problems == ("the target parent zsd/absent does not exist",)


def test_a_suspended_pool_is_told_and_not_waited_for(interrupted: World) -> None:
    interrupted.zfs.health = "SUSPENDED"
    interrupted.zfs.calls.clear()
    assert interrupted.examine().problems == ("the pool zsd is SUSPENDED",)
    assert {call[0] for call in interrupted.zfs.calls} == {"zpool"}


# Temporary files of the spool.


@pytest.fixture
def living(world: World) -> Iterator[Spool]:
    """Instance 1, as long as the test lasts."""
    spool = Spool(world.spool.directory, 1)
    lock = spool.instances.lock()
    yield spool
    lock.release()


@pytest.mark.parametrize("name", ["SV.claim.1", "SV.show.1", "SV.result.1", "a.claim.2.result.1"])
def test_what_a_dead_instance_did_not_rename_is_removed(world: World, name: str) -> None:
    file = world.write(world.work / name)
    found = only(world.examine())
    assert (found.kind, found.where) == ("temporary", str(file))
    assert found.repo == name.rpartition(".")[0].rpartition(".")[0]
    assert world.examine(REMOVE).is_clean
    assert not file.exists()


def test_a_repository_with_a_claim_does_not_lose_its_record_to_another(world: World) -> None:
    for repo in ("CO", "SV"):
        world.write(world.work / f"{repo}.claim.1")
    world.claim("CO.claim.1")
    assert only(world.examine(REMOVE)).repo == "SV"
    assert os.listdir(world.work) == ["CO.claim.1"]


def test_the_status_of_a_dead_instance_is_removed(world: World) -> None:
    file = world.write(world.work / "status.1")
    assert world.examine(REMOVE).is_clean
    assert not file.exists()


@pytest.mark.usefixtures("living")
def test_what_a_living_instance_may_be_writing_is_not_left_over(world: World) -> None:
    for name in ("status.1", "SV.result.1"):
        world.write(world.work / name)
    assert world.examine(REMOVE) == Findings((), ())
    assert sorted(os.listdir(world.work)) == ["SV.result.1", "status.1"]


@pytest.mark.usefixtures("living")
def test_a_record_is_left_over_although_its_instance_lives_again(world: World) -> None:
    """It is written under the repository's lock only."""
    file = world.write(world.work / "SV.claim.1")
    assert world.examine(REMOVE).is_clean
    assert not file.exists()


def test_a_record_beside_a_claim_is_not_left_over(world: World) -> None:
    file = world.write(world.work / "SV.claim.1")
    world.claim()
    assert world.examine(REMOVE) == Findings((), ())
    assert file.exists()


def test_other_names_among_temporary_files_are_not_ours(world: World) -> None:
    for name in ("notes", "SV.claim.x", "SV-norm.claim.1"):
        world.write(world.work / name)
    assert kinds(world.examine(ALL)) == ["foreign"] * 3
    assert len(os.listdir(world.work)) == 3


def test_a_submission_may_be_going_on_so_it_is_only_named(world: World) -> None:
    file = world.claim(".submit.0123")
    found = only(world.examine(ALL))
    assert (found.kind, found.treatment, found.where) == ("temporary", "look", str(file))
    assert file.exists()


def test_what_is_meant_to_stay_in_the_spool_is_not_left_over(world: World, living: Spool) -> None:
    living.instances.write_status({})
    world.spool.lock_repository(SV).release()  # type: ignore[union-attr]
    private = Path(world.spool.directory) / ".dsgmigd"
    world.write(private / f"results/SV.{ID}.json")
    world.claim("SV.result.json")
    world.write(Path(world.spool.directory) / "rejected" / ID)
    assert world.examine(ALL) == Findings((), ())


# What people and scripts see.


def test_the_table_says_what_why_and_how_and_ends_with_advice(interrupted: World) -> None:
    text = to_text(interrupted.examine())
    header, *rows, advice = text.splitlines()
    assert header.split() == ["LEFT", "REPO", "REQUEST", "WHERE", "WHY", "FIX"]
    assert len(rows) == 3
    assert all("SV" in row and ID in row for row in rows)
    assert "--fix --discard-staging removes it" in text
    assert advice.startswith("left over: 3; `dsgmigd doctor --fix` removes 2; `dsgmigd migrate")
    fixed = to_text(interrupted.examine(REMOVE))
    assert fixed.count("  removed\n") == 2
    assert "removes 2" not in fixed
    assert to_text(Findings((), ())) == "nothing is left over"


def test_a_name_does_nothing_to_a_terminal() -> None:
    name = os.fsdecode(b"a\x1b[31m\nb\xff\xc3\xa9")
    shown = to_text(Findings((Leftover("foreign", name, "why", "look"),), (name,)))
    assert shown.count("a\\x1b[31m\\nb\\udcffé") == 2
    assert "\x1b" not in shown
    shown.encode()


def test_scripts_get_one_object(interrupted: World) -> None:
    document = json.loads(json.dumps(to_json(interrupted.examine(REMOVE))))
    assert document["is_clean"] is False
    assert document["problems"] == []
    assert [(one["kind"], one["is_removed"]) for one in document["leftovers"]] == [
        ("pins", True),
        ("view", True),
        ("staging", False),
    ]
    assert document["leftovers"][1]["where"] == VIEW


def test_giving_up_work_without_a_fix_is_wrong_usage() -> None:
    done = CliRunner().invoke(main, ["doctor", "--discard-staging"])
    assert done.exit_code == 2
    assert "--fix" in done.output


def test_without_a_spool_nothing_can_be_judged(tmp_path: Path) -> None:
    config = tmp_path / "dsgmigd.toml"
    config.write_text(f'[spool]\ndirectory = "{tmp_path}/absent"\n')
    done = CliRunner().invoke(main, ["--config", str(config), "doctor"])
    assert done.exit_code == 78
    assert "does not exist" in done.output
