"""The rooms of the package and what may import what: docs/architecture.md says why.

A room imports the rooms that its line names, and of those only the modules of their face (`FACE` in
the room's `__init__`). Everybody imports the words of the house.
"""

import ast
import importlib
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "dsgmigd"

WORDS = {"errors", "exclusion", "names", "request"}

ROOMS: dict[str, set[str]] = {
    "host": set(),
    "spool": {"host"},
    "dsg": {"host"},
    "custody": {"host"},
    "target": {"host"},
    "source": {"dsg", "host"},
    "transfer": {"source", "target", "host"},
    # Never transfer, never migration: what checks must not share code with what copies.
    "verification": {"source", "target", "dsg", "host"},
    # Never spool: `dsgmigd migrate` works without a queue.
    "migration": {"source", "transfer", "target", "dsg", "custody", "verification", "host"},
    "maintenance": {"spool", "source", "target", "dsg", "custody", "verification", "host"},
    "service": {"spool", "custody", "migration", "verification", "target", "host"},
    "cli": {
        *("spool", "custody", "migration", "maintenance", "service"),
        *("source", "target", "verification", "host"),
    },
}

# Top-level modules that are no words: what builds everything from the configuration, and the start.
BUILDERS = {"config": {"migration", "service", "source"}, "__main__": {"cli", "host", "service"}}

PURE = [
    *("errors", "exclusion", "names", "request"),
    *("custody.bag_layout", "custody.bag_names"),
    *("custody.entry", "custody.statement", "custody.table"),
    *("dsg.entry", "dsg.entry_tree", "dsg.lines", "dsg.link_names", "dsg.manifest"),
    *("dsg.metadata", "dsg.pushlog", "dsg.refused", "dsg.scope", "dsg.stale", "dsg.tags"),
    *("host.terminal", "spool.file_names", "spool.layout"),
    *("spool.ledger_chain", "spool.ledger_line"),
    *("maintenance.doctor.leftover", "migration.plan", "source.send_stream"),
    *("target.capabilities", "target.layout", "target.marks", "target.zfs_errors"),
    *("transfer.absent_paths", "verification.compare"),
    *("verification.entries", "verification.findings", "verification.link_groups"),
]
IMPURE_IMPORTS = {"os", "subprocess", "socket", "time", "structlog"}
EXEMPT = {
    # They name the type os.stat_result and turn file names into bytes; they call no kernel.
    *(("verification.compare", "os"), ("verification.entries", "os")),
    *(("verification.link_groups", "os"), ("custody.entry", "os"), ("custody.bag_names", "os")),
    # They join and split paths.
    *(("spool.file_names", "os"), ("spool.layout", "os")),
}

LARGEST_FUNCTION_LINES = 40
LARGEST_MODULE_LINES = 300


def module_files() -> dict[str, Path]:
    """Return the file of every module, by its name without the package's."""
    files = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        files[name or PACKAGE] = path
    return files


FILES = module_files()


def room_of(name: str) -> str | None:
    """Return the room of a module; None for what lies at the top of the package."""
    room = name.partition(".")[0]
    return room if room in ROOMS else None


def imports_of(name: str) -> set[str]:
    """Return all that a module imports anywhere; our own modules with the package's name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(FILES[name].read_bytes())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import: write it in full"
            origin = node.module or ""
            for alias in node.names:
                full = f"{origin}.{alias.name}"
                found.add(full if full.removeprefix(f"{PACKAGE}.") in FILES else origin)
    return found


def own_imports_of(name: str) -> set[str]:
    return {
        one.removeprefix(f"{PACKAGE}.")
        for one in imports_of(name)
        if one == PACKAGE or one.startswith(f"{PACKAGE}.")
    }


def face_of(room: str) -> set[str]:
    """Return the modules of a room that other rooms may import."""
    return {f"{room}.{name}" for name in importlib.import_module(f"{PACKAGE}.{room}").FACE}


@pytest.mark.parametrize("name", FILES)
def test_a_module_imports_only_rooms_that_its_own_may_import(name: str) -> None:
    room = room_of(name)
    allowed = ROOMS[room] | {room} if room else BUILDERS.get(name, set())
    others = {other for one in own_imports_of(name) if (other := room_of(one))}
    assert others <= allowed, f"{name} imports {sorted(others - allowed)}: see ROOMS above"


@pytest.mark.parametrize("name", FILES)
def test_across_rooms_only_the_face_is_imported(name: str) -> None:
    room = room_of(name)
    for one in own_imports_of(name):
        other = room_of(one)
        # The command line builds everything, and imports a module itself where it starts quickly.
        if other not in {None, room, "cli"} and room != "cli":
            assert one in face_of(str(other)), f"{one} is not in the face of {other}"


@pytest.mark.parametrize("room", sorted(ROOMS.keys() - {"cli"}))
def test_every_module_of_a_face_exists_and_is_used_by_another_room(room: str) -> None:
    assert face_of(room) <= FILES.keys()
    used = {one for name in FILES if room_of(name) != room for one in own_imports_of(name)}
    assert sorted(face_of(room) - used) == []


def test_the_words_of_the_house_import_no_room() -> None:
    assert {name for name in FILES if room_of(name) is None} == {
        *WORDS,
        *BUILDERS,
        PACKAGE,
    }
    for name in WORDS:
        assert own_imports_of(name) <= WORDS


@pytest.mark.parametrize("room", ROOMS)
def test_no_imports_go_in_a_circle(room: str) -> None:
    inside = [name for name in FILES if room_of(name) == room]
    graph = {name: own_imports_of(name) & set(inside) for name in inside}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


def test_the_rooms_of_the_table_are_those_of_the_package() -> None:
    folders = {path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py")}
    assert folders == ROOMS.keys()


def test_the_top_of_the_package_stays_small() -> None:
    assert len(list((ROOT / PACKAGE).glob("*.py"))) <= 8


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_reaches_for_nothing_outside(name: str) -> None:
    imported = {one.partition(".")[0] for one in imports_of(name)}
    impure = {one for one in imported & IMPURE_IMPORTS if (name, one) not in EXEMPT}
    assert impure == set()


def test_only_one_module_starts_programs() -> None:
    starters = {"subprocess", "multiprocessing", "pty"}
    assert [name for name in FILES if imports_of(name) & starters] == ["host.command"]
    calls = ("os.system", "os.popen", "os.fork", "os.exec", "os.spawn", "os.posix_spawn")
    for name, path in FILES.items():
        found = [call for call in calls if call in path.read_text()]
        # It starts nothing beside itself: the process becomes the same program in another mode.
        assert found == (["os.exec"] if name == "host.encoding" else []), name


def test_the_configuration_is_known_to_the_command_line_only() -> None:
    importers = [name for name in FILES if "config" in own_imports_of(name)]
    assert [name for name in importers if room_of(name) != "cli"] == []
    assert importers


# Wall clocks jump: what they say is written down for people, names what is kept, or is compared
# with other wall-clock times of the same file system. Nothing waits for one.
ASK_THE_WALL_CLOCK = {
    *("cli.custody", "cli.foreground", "cli.rollback", "maintenance.repair", "migration.build"),
    "migration.evidence",
    *("migration.migration", "service.cancel", "service.processing", "service.queue"),
    *("service.worker", "source.provenance", "spool.ledger"),
    *("target.published_marks", "target.staging"),
}


def test_the_wall_clock_is_asked_where_a_jump_does_no_harm() -> None:
    asking = {
        name
        for name, path in FILES.items()
        if re.search(r"\btime\.time(_ns)?\(|datetime\.now\(|CLOCK_REALTIME", path.read_text())
    }
    assert asking == ASK_THE_WALL_CLOCK


def has_test(name: str) -> bool:
    """Say whether a module has a test file of its name, or a folder with its tests."""
    folder = (ROOT / "tests/unit").joinpath(*name.split(".")[:-1])
    last = name.rpartition(".")[2].strip("_")
    return (folder / f"test_{last}.py").is_file() or any((folder / last).glob("test_*.py"))


def test_every_module_has_tests_beside_it() -> None:
    modules = {name for name, path in FILES.items() if path.name != "__init__.py"}
    assert {name for name in modules if not has_test(name)} == set()


def test_no_module_is_long_but_those_that_the_page_names() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for path in FILES.values():
        is_long = len(path.read_text(encoding="utf-8").splitlines()) > LARGEST_MODULE_LINES
        assert is_long == (f"`{path.relative_to(ROOT)}` |" in page), path


@pytest.mark.parametrize("name", FILES)
def test_no_function_is_long(name: str) -> None:
    functions = (
        node
        for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    )
    long = [
        one.name
        for one in functions
        if (one.end_lineno or 0) - one.lineno >= LARGEST_FUNCTION_LINES
    ]
    assert long == []
