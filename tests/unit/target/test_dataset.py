"""What `zfs get -Hp` prints, as data; the commands are tested in test_zfs."""

from dsgmigd.target.dataset import PROPERTY_PREFIX, parse_dataset, rows_of, wanted

NATIVE = {"type": "filesystem", "guid": "7", "creation": "5", "origin": "-"}
MOUNT = {"mounted": "yes", "mountpoint": "/a\tb\nc", "readonly": "on"}


def printed(name: str, values: dict[str, str], source: str = "-") -> str:
    return "".join(f"{name}\t{key}\t{source}\t{value}\n" for key, value in values.items())


def test_a_value_may_be_any_text() -> None:
    rows = rows_of(printed("zsd", MOUNT), ("mounted", "mountpoint", "readonly"))
    assert [row[1:] for row in rows] == [[key, "-", value] for key, value in MOUNT.items()]


def test_a_property_counts_only_where_it_was_set() -> None:
    key = PROPERTY_PREFIX + "request"
    output = (
        printed("zsd/SV", NATIVE | MOUNT)
        + printed("zsd/SV", {key: "r1"}, "local")
        + printed("zsd/SV@s1", NATIVE | MOUNT)
        + printed("zsd/SV@s1", {key: "r1"}, "inherited from zsd/SV")
        + printed("zsd/SV/child", NATIVE | MOUNT)
    )
    found = parse_dataset("zsd/SV", output, ("request",))
    assert (found.properties, found.guid, found.is_read_only) == ({"request": "r1"}, "7", True)
    assert found.mountpoint == MOUNT["mountpoint"]
    (snapshot,) = found.snapshots
    assert (snapshot.name, snapshot.created_at, snapshot.properties) == ("s1", 5, {})


def test_what_is_asked_for_has_the_prefix_where_it_is_ours() -> None:
    assert wanted(("request",))[-1] == PROPERTY_PREFIX + "request"
    assert set(NATIVE | MOUNT) == set(wanted(()))
