"""The gate to other programs, tried with real ones."""

import errno
import os
import select
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dsgmigd.errors import (
    CommandFailed,
    CommandTimedOut,
    HostExhausted,
    InterruptedByStop,
    StreamCorrupt,
)
from dsgmigd.host.command import Commands

PATIENCE_SECONDS = 5


@pytest.fixture
def lifeline() -> Iterator[tuple[int, int]]:
    """A pipe whose reading end sees the end of input when the last holder of the other is dead."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def is_deserted(lifeline: tuple[int, int]) -> bool:
    reading, writing = lifeline
    os.close(writing)
    return bool(select.select([reading], [], [], PATIENCE_SECONDS)[0])


def test_what_a_program_prints_is_returned() -> None:
    assert Commands().output("printf", "%s\n", "a b", "*", "$HOME") == "a b\n*\n$HOME\n"


def test_bytes_that_are_no_text_survive_as_file_names_do() -> None:
    assert os.fsencode(Commands().output("printf", r"\351")) == b"\xe9"


def test_the_environment_is_constructed_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_ME", "1")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    lines = Commands().output("env").splitlines()
    assert [line.partition("=")[0] for line in sorted(lines)] == ["LC_ALL", "PATH", "TZ"]
    assert "LC_ALL=C.UTF-8" in lines


def test_a_program_has_nothing_to_read_though_we_have() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"ours")
    os.close(writing)
    ours = os.dup(0)
    os.dup2(reading, 0)
    try:
        assert Commands().output("cat") == ""
    finally:
        os.dup2(ours, 0)
        os.close(ours)
        os.close(reading)


def test_a_program_has_a_session_of_its_own() -> None:
    session = Commands().output("sh", "-c", "cut -d ' ' -f 6 /proc/self/stat")
    assert int(session) != os.getsid(0)


def test_a_program_does_not_depend_on_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert Commands().output("pwd") == "/\n"


def test_a_failure_carries_the_message_of_the_program() -> None:
    with pytest.raises(CommandFailed, match="ended with status 3: so it is") as caught:
        Commands().output("sh", "-c", "echo so it is >&2; exit 3")
    assert (caught.value.status, caught.value.stderr) == (3, "so it is\n")
    assert caught.value.argv[0] == "sh"


def test_no_more_error_output_is_kept_than_a_message_can_hold() -> None:
    with pytest.raises(CommandFailed) as caught:
        Commands().output("sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1")
    assert len(caught.value.stderr) == 4096


def test_a_missing_program_is_a_command_failure() -> None:
    with pytest.raises(CommandFailed, match="No such file") as caught:
        Commands().output("no-such-program")
    assert caught.value.status == 127


def test_a_program_killed_by_a_signal_is_a_failure() -> None:
    with pytest.raises(CommandFailed) as caught:
        Commands().output("sh", "-c", "kill -TERM $$")
    assert caught.value.status == -15


def test_a_program_that_takes_too_long_is_killed(lifeline: tuple[int, int]) -> None:
    commands = Commands(keep_descriptors=(lifeline[1],))
    with pytest.raises(CommandTimedOut, match=r"sleep 60 did not end within 0\.05 seconds"):
        commands.output("sleep", "60", timeout_seconds=0.05)
    assert is_deserted(lifeline)


def test_what_a_killed_program_started_is_killed_with_it(lifeline: tuple[int, int]) -> None:
    commands = Commands(keep_descriptors=(lifeline[1],))
    with pytest.raises(CommandTimedOut):
        commands.output("sh", "-c", "sleep 60 & wait", timeout_seconds=0.2)
    assert is_deserted(lifeline)


def test_only_the_descriptors_to_keep_reach_a_program(lifeline: tuple[int, int]) -> None:
    reading, writing = lifeline
    os.set_inheritable(reading, True)  # noqa: FBT003 - the only way to say it
    printed = Commands(keep_descriptors=(writing,)).output("ls", "/proc/self/fd")
    assert str(writing) in printed.split()
    assert str(reading) not in printed.split()
    os.close(writing)


def test_one_program_can_have_more_descriptors_than_the_others(lifeline: tuple[int, int]) -> None:
    commands = Commands()
    printed = commands.output("ls", "/proc/self/fd", keep_descriptors=lifeline)
    assert {str(number) for number in lifeline} <= set(printed.split())
    assert str(lifeline[0]) not in commands.output("ls", "/proc/self/fd").split()
    os.close(lifeline[1])


def test_a_long_run_calls_the_checkpoint_and_drops_the_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """More than a pipe holds is printed: it is neither shown nor does it block the program."""
    called = tmp_path / "called"
    script = 'yes | head -c 200000; timeout 60 sh -c "until [ -e $0 ]; do sleep 0.01; done"'
    Commands().long_run("sh", "-c", script, str(called), checkpoint=called.touch)
    assert capfd.readouterr() == ("", "")


def test_a_long_run_that_fails_carries_the_message_of_the_program() -> None:
    with pytest.raises(CommandFailed, match="status 23: some files vanished"):
        Commands().long_run(
            "sh", "-c", "echo some files vanished >&2; exit 23", checkpoint=lambda: None
        )


def test_a_checkpoint_that_raises_ends_a_long_run_at_once(lifeline: tuple[int, int]) -> None:
    def stop() -> None:
        raise InterruptedByStop

    commands = Commands(keep_descriptors=(lifeline[1],))
    with pytest.raises(InterruptedByStop):
        commands.long_run("sleep", "60", checkpoint=stop)
    assert is_deserted(lifeline)


def test_a_pipe_gives_the_output_while_it_is_printed() -> None:
    with Commands().pipe("printf", "one two") as stream:
        assert (stream.read(3), stream.read(99), stream.read(1)) == (b"one", b" two", b"")


def read_all(commands: Commands, *argv: str, then: Exception | None = None) -> bytes:
    with commands.pipe(*argv) as stream:
        data = stream.read(4)
        if then:
            raise then
    return data


def damaged() -> StreamCorrupt:
    return StreamCorrupt("damaged", hint="none")


def test_a_pipe_whose_program_failed_after_its_last_byte_is_a_failure() -> None:
    with pytest.raises(CommandFailed, match="status 1: cut short"):
        read_all(Commands(), "sh", "-c", "printf data; echo cut short >&2; exit 1")


def test_if_the_stream_is_damaged_and_the_program_failed_its_message_is_the_error() -> None:
    with pytest.raises(CommandFailed, match="I/O error"):
        read_all(Commands(), "sh", "-c", "printf da; echo I/O error >&2; exit 1", then=damaged())


def test_a_damaged_stream_of_a_program_that_succeeded_stays_a_damaged_stream() -> None:
    with pytest.raises(StreamCorrupt, match="damaged"):
        read_all(Commands(), "true", then=damaged())


def test_a_reader_that_gives_up_ends_the_program(lifeline: tuple[int, int]) -> None:
    commands = Commands(keep_descriptors=(lifeline[1],))
    with pytest.raises(InterruptedByStop):
        read_all(commands, "yes", then=InterruptedByStop())
    assert is_deserted(lifeline)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    commands = Commands()
    commands.output("true")
    with commands.pipe("ls", str(tmp_path)) as stream:
        stream.read()
    with pytest.raises(CommandFailed):
        commands.output("false")
    assert os.listdir("/proc/self/fd") == before


def test_killing_all_ends_what_runs_in_another_thread(lifeline: tuple[int, int]) -> None:
    commands = Commands(keep_descriptors=(lifeline[1],))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(commands.output, "sh", "-c", "sleep 60 & wait")
        while not running.done():
            commands.kill_all()
        with pytest.raises(CommandFailed, match="status -9"):
            running.result()
    assert is_deserted(lifeline)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EMFILE, HostExhausted), (errno.EIO, CommandFailed)]
)
def test_a_program_whose_output_cannot_be_read_has_not_succeeded(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess.Popen, "communicate", failing)
    with pytest.raises(kind, match=os.strerror(number)):
        Commands().output("true")


def test_without_a_file_for_error_output_nothing_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(_name: str) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "memfd_create", failing)
    with pytest.raises(HostExhausted):
        Commands().long_run("true", checkpoint=lambda: pytest.fail("it runs"))


def test_a_program_reads_the_content_that_it_is_given() -> None:
    content = b"\xff" + bytes(1024 * 1024)
    assert os.fsencode(Commands().output("cat", content=content)) == content


def test_a_program_need_not_read_its_content() -> None:
    assert Commands().output("true", content=bytes(1024 * 1024)) == ""
