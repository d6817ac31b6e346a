"""Which module may import which: this table is the architecture document.

A module may import those that its line names, and a line may name only modules that stand above it.
So imports go downward only and never in a circle.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "dsgmigd"

ALLOWED: dict[str, set[str]] = {
    # Words of the house: pure.
    "dsgmigd": set(),
    "errors": set(),
    "deferral": {"errors"},
    "exclusion": set(),
    "names": {"errors"},
    "places": {"names"},
    "request": {"errors"},
    "plan": {"errors", "names"},
    # Tools that know nothing of migrations.
    "btrfs": set(),
    "dsg": set(),
    "verify": set(),
    "zfs": set(),
    "hashing": set(),
    "descriptors": set(),
    "durable": set(),
    "results": {"durable", "names"},
    "result_record": set(),
    "syscalls": set(),
    "locks": set(),
    "instances": {"durable", "errors", "locks"},
    "file_errors": {"errors"},
    "command": {"errors", "file_errors"},
    "progress": {"errors"},
    "abilities": {"request"},
    "probe": {"abilities", "file_errors"},
    # Adapters.
    "btrfs.stream": {"errors"},
    "btrfs.border": {"exclusion"},
    "btrfs.tree": {"descriptors", "syscalls"},
    "btrfs.replay": {
        *("abilities", "btrfs.border", "btrfs.stream", "btrfs.tree", "errors", "file_errors"),
        "request",
    },
    "btrfs.subvolume": {"errors", "file_errors"},
    "btrfs.search": set(),
    "zfs.mounting": {"errors"},
    "zfs.mounts": set(),
    "zfs.waking": {"zfs.mounts"},
    "zfs.dataset": {"errors", "zfs.mounting"},
    "marks": {"names", "plan", "request", "zfs.dataset"},
    "zfs.pool": {"errors", "zfs.dataset", "zfs.waking"},
    "stall": {"command", "errors", "progress", "zfs.pool"},
    "dsg.entry": set(),
    "dsg.history": set(),
    "dsg.pushlog": {"names"},
    "dsg.lines": {"dsg.entry"},
    "dsg.metadata": {"dsg.entry", "dsg.lines", "dsg.pushlog", "hashing", "names"},
    "dsg.manifest": {"dsg.entry", "dsg.lines"},
    "dsg.scope": {"dsg.entry"},
    "dsg.refused": set(),
    "read_scope": {"dsg.scope", "durable", "file_errors"},
    "dsg.refresh": {
        *("descriptors", "dsg.manifest", "dsg.refused", "dsg.scope", "errors", "file_errors"),
        "hashing",
    },
    "dsg.tags": {"dsg.entry", "dsg.metadata", "names"},
    "dsg.archive": {"dsg.metadata", "dsg.tags", "errors", "exclusion", "file_errors"},
    "rsync": {"abilities", "command", "errors", "exclusion", "file_errors"},
    "hard_links": {"descriptors", "exclusion", "file_errors"},
    "borders": {"descriptors", "file_errors"},
    # The verifier: it shares rules with the copying, and the hash, but no code that copies.
    "verify.compare": {"abilities"},
    "verify.checks": {"verify.compare"},
    "discrepancies": {"verify.compare"},
    "verify.findings": {"request", "verify.checks", "verify.compare"},
    "verify.digests": set(),
    "verify.proof": {"verify.digests"},
    "verify.listing": set(),
    "verify.document": {"hashing", "verify.listing"},
    "verify.tags": {"durable", "file_errors", "verify.compare"},
    "verify.metadata": {
        *("dsg.pushlog", "durable", "file_errors", "hashing", "verify.compare"),
        *("verify.document", "verify.listing", "verify.tags"),
    },
    "verify.archives": {
        *("file_errors", "verify.compare", "verify.document", "verify.metadata", "verify.proof"),
        "verify.tags",
    },
    "verify.readers": {"file_errors"},
    "verify.side": {"descriptors", "hashing", "verify.compare"},
    "verify.contents": {"verify.side"},
    "verify.walk": {
        *("abilities", "dsg.scope", "exclusion", "request", "verify.compare", "verify.contents"),
        *("verify.findings", "verify.listing", "verify.metadata", "verify.proof", "verify.side"),
    },
    "verify.verifier": {
        *("abilities", "dsg.pushlog", "dsg.scope", "exclusion", "file_errors", "read_scope"),
        *("request", "verify.archives", "verify.compare", "verify.findings", "verify.metadata"),
        *("verify.proof", "verify.readers", "verify.side", "verify.walk"),
    },
    "verify.changes": {"btrfs.search", "verify.verifier"},
    "verify.chain": {"file_errors", "verify.compare", "verify.metadata", "verify.proof"},
    "verify.own_manifest": {
        *("dsg.scope", "file_errors", "read_scope", "request", "verify.chain", "verify.compare"),
        *("verify.findings", "verify.metadata", "verify.proof", "verify.readers", "verify.side"),
    },
    # Effects at the edges.
    "line_sink": set(),
    "journal": {"line_sink"},
    "notify": set(),
    "wake": set(),
    "submitter": set(),
    "claim": {"deferral", "durable", "errors", "locks", "names", "request", "submitter"},
    "claim_records": {"claim", "deferral", "durable", "errors", "names"},
    "control": {"durable", "errors", "locks", "names"},
    "spool_place": {"errors", "syscalls"},
    "spool": {
        *("claim", "claim_records", "control", "deferral", "durable", "errors", "instances"),
        *("locks", "names", "request", "result_record", "results", "spool_place", "submitter"),
        "syscalls",
    },
    # The configuration.
    "settings": {"deferral", "names", "places", "request"},
    "config": {"deferral", "errors", "names", "request", "settings"},
    # One migration.
    "report": {"errors", "names", "plan", "verify.compare", "verify.findings"},
    "source": {"btrfs.subvolume", "errors", "exclusion", "file_errors", "names"},
    "pins": {"btrfs.subvolume", "errors", "file_errors", "plan", "source"},
    "provenance": {
        *("descriptors", "dsg.entry", "dsg.pushlog", "dsg.tags", "durable", "file_errors"),
        *("names", "source"),
    },
    "half_made": {"errors", "file_errors", "zfs.dataset"},
    "staging": {
        *("errors", "file_errors", "half_made", "marks", "names", "places", "request"),
        *("zfs.dataset", "zfs.mounts"),
    },
    "replaced": {"errors", "marks", "places", "zfs.dataset", "zfs.pool"},
    "survey": {
        *("abilities", "btrfs.search", "descriptors", "errors", "exclusion", "file_errors"),
        *("request", "source"),
    },
    "checker": {
        *("dsg.pushlog", "file_errors", "request", "source", "staging", "verify.changes"),
        *("verify.findings", "verify.proof", "verify.readers", "verify.verifier"),
    },
    "unreadable": {"btrfs.search", "descriptors", "file_errors", "source"},
    "step": {
        *("abilities", "borders", "btrfs.replay", "btrfs.stream", "btrfs.subvolume", "command"),
        *("descriptors", "dsg.archive", "dsg.manifest", "dsg.metadata", "dsg.pushlog"),
        *(
            "dsg.refresh",
            "dsg.scope",
            "dsg.tags",
            "errors",
            "exclusion",
            "file_errors",
            "hard_links",
            "names",
        ),
        *("progress", "read_scope", "request", "rsync", "source", "unreadable"),
    },
    "build": {
        *("checker", "dsg.pushlog", "dsg.tags", "errors", "marks", "names", "plan", "progress"),
        *("report", "request", "source", "staging", "step", "verify.verifier"),
    },
    "published": {
        *("checker", "dsg.archive", "dsg.tags", "errors", "marks", "names", "progress", "report"),
        *("source", "staging", "verify.compare", "verify.findings", "verify.own_manifest"),
        "zfs.dataset",
    },
    # Afterwards.
    "newest": {"errors", "names", "places", "published", "staging", "zfs.dataset", "zfs.pool"},
    "history": {
        *("dsg.archive", "dsg.history", "errors", "file_errors"),
        *("verify.document", "verify.listing", "verify.metadata"),
    },
    "repair": {
        *("descriptors", "durable", "errors", "exclusion", "file_errors", "history", "newest"),
        "verify.metadata",
    },
    # One migration, whole.
    "migrate": {
        *("abilities", "build", "checker", "command", "dsg.tags", "errors", "marks", "names"),
        *("pins", "plan", "probe", "progress", "provenance", "published", "replaced"),
        *("report", "request", "settings", "source", "staging", "step", "survey"),
        *("verify.own_manifest", "verify.verifier", "zfs.dataset", "zfs.pool"),
    },
    # The instance.
    "result": {"dsgmigd", "errors", "report"},
    "processing": {
        *("claim", "command", "deferral", "discrepancies", "errors", "file_errors", "migrate"),
        *("progress", "report", "result", "settings", "spool"),
    },
    "cancel": {"claim", "control", "errors", "names", "result", "spool"},
    "daemon": {
        *("cancel", "claim", "command", "deferral", "errors", "file_errors", "journal", "names"),
        *("notify", "processing", "progress", "result", "settings", "spool", "spool_place"),
        *("stall", "wake", "zfs.waking"),
    },
    "doctor": set(),
    "doctor.leftover": {"names"},
    "doctor.pins": {"btrfs.subvolume", "doctor.leftover", "errors", "names", "pins", "source"},
    "doctor.datasets": {
        *("doctor.leftover", "errors", "marks", "names", "places", "probe", "request"),
        *("zfs.dataset", "zfs.pool"),
    },
    "doctor.temporaries": {"doctor.leftover", "errors", "names", "spool"},
    "doctor.examine": {
        *("command", "doctor.datasets", "doctor.leftover", "doctor.pins", "doctor.temporaries"),
        *("errors", "names", "spool", "zfs.dataset"),
    },
    # The command line: builds the objects.
    "cli.output": {"errors", "progress"},
    "cli.context": {"cli.output", "config", "spool"},
    "cli.configuration": {"cli.context", "cli.output"},
    "cli.queue": {"cli.context", "cli.output", "control", "names", "request", "source"},
    "cli.control": {
        *("cancel", "cli.context", "cli.output", "errors", "names", "request", "spool"),
    },
    "cli.migration": {
        *("cli.context", "cli.output", "command", "daemon", "discrepancies", "errors", "journal"),
        *("migrate", "names", "notify", "progress", "report", "request", "result"),
    },
    "cli.replaced": {"cli.context", "cli.migration", "cli.output", "names", "replaced"},
    "cli.history": {
        *("cli.context", "cli.migration", "cli.output", "history", "names", "newest"),
    },
    "cli.repair": {
        *("cli.context", "cli.migration", "cli.output", "names", "newest", "repair"),
    },
    "cli.doctor": {"cli.context", "cli.output", "doctor.examine", "doctor.leftover"},
    "cli": {"cli.context", "dsgmigd"},  # and the module of a verb when it is asked for
    "__main__": {"cli", "journal"},
}

PURE = [
    *("plan", "request", "names", "errors", "exclusion", "btrfs.stream", "btrfs.border"),
    *(
        "dsg.lines",
        "dsg.manifest",
        "dsg.entry",
        "dsg.metadata",
        "dsg.pushlog",
        "dsg.refused",
        "dsg.scope",
    ),
    *("dsg.tags", "verify.compare", "abilities", "verify.findings", "doctor.leftover"),
]
IMPURE_IMPORTS = {"os", "subprocess", "socket", "time", "structlog"}
EXEMPT = {
    # It names the type os.stat_result and turns file names into bytes; it calls no kernel.
    ("verify.compare", "os")
}


def module_files() -> dict[str, Path]:
    """Return the file of every module, by its name without the package's."""
    files = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        files[name or PACKAGE] = path
    return files


FILES = module_files()


def imports_of(name: str) -> set[str]:
    """Return all that a module imports anywhere; our own without the package's name."""
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


def line_for(name: str) -> str:
    names = ", ".join(f'"{one}"' for one in sorted(own_imports_of(name)))
    return f'    "{name}": ' + (f"{{{names}}}," if names else "set(),")


@pytest.mark.parametrize("name", FILES)
def test_a_module_imports_what_its_line_allows_and_no_more(name: str) -> None:
    assert name in ALLOWED, (
        f"{name} is new. Below everything that it imports, add to ALLOWED in {Path(__file__).name}:"
        f"\n{line_for(name)}"
    )
    imported = own_imports_of(name)
    assert imported <= ALLOWED[name], (
        f"{name} imports {sorted(imported - ALLOWED[name])}, which its line does not allow. "
        f"If that is right, the line is:\n{line_for(name)}"
    )
    assert imported == ALLOWED[name], (
        f"{name} no longer imports {sorted(ALLOWED[name] - imported)}. "
        f"The line is:\n{line_for(name)}"
    )


def test_imports_go_downward_only() -> None:
    above: set[str] = set()
    for name, allowed in ALLOWED.items():
        assert allowed <= above, (
            f"the line of {name} names {sorted(allowed - above)}, which must stand above it"
        )
        above.add(name)


def test_the_table_has_no_module_that_is_gone() -> None:
    assert sorted(ALLOWED.keys() - FILES.keys()) == []


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_reaches_for_nothing_outside(name: str) -> None:
    imported = {one.partition(".")[0] for one in imports_of(name)}
    impure = {one for one in imported & IMPURE_IMPORTS if (name, one) not in EXEMPT}
    assert impure == set()


def test_only_one_module_starts_programs() -> None:
    starters = {"subprocess", "multiprocessing", "pty"}
    assert [name for name in FILES if imports_of(name) & starters] == ["command"]
    calls = ("os.system", "os.popen", "os.fork", "os.exec", "os.spawn", "os.posix_spawn")
    for path in FILES.values():
        assert not any(call in path.read_text() for call in calls), path


def test_the_configuration_is_known_to_the_command_line_only() -> None:
    importers = [name for name in FILES if "config" in own_imports_of(name)]
    assert [name for name in importers if name.partition(".")[0] != "cli"] == []
    assert importers


# Wall clocks jump: what they say is written down for people, names what is kept, or is compared
# with other wall-clock times of the same file system. Nothing waits for one.
ASK_THE_WALL_CLOCK = {
    *("build", "cancel", "cli.migration", "cli.replaced", "daemon", "migrate", "processing"),
    "provenance",
}


def test_the_wall_clock_is_asked_where_a_jump_does_no_harm() -> None:
    asking = {
        name
        for name, path in module_files().items()
        if re.search(r"\btime\.time(_ns)?\(|datetime\.now\(|CLOCK_REALTIME", path.read_text())
    }
    assert asking == ASK_THE_WALL_CLOCK
