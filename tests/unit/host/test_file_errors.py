"""An OSError becomes an error of its side; only a missing path counts as missing."""

import errno
import os
from pathlib import Path

import pytest

from dsgmigd.errors import (
    HostExhausted,
    SourceUnreadable,
    SpoolFailing,
    TargetFull,
    TargetRefused,
    TargetUnwritable,
)
from dsgmigd.host.file_errors import (
    has_failed,
    source_errors,
    spool_errors,
    status_of,
    target_errors,
)

TOO_LONG = "n" * 300


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_a_missing_path_has_no_status_and_a_failed_lookup_is_an_error(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    assert [status_of(tmp_path / name) for name in ("absent", "file/below")] == [None, None]
    with pytest.raises(OSError, match="too long"):
        status_of(tmp_path / TOO_LONG)


def test_the_status_of_a_link_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("absent")
    status = status_of(tmp_path / "link")
    assert status is not None
    assert status.st_size == len("absent")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (os_error(errno.EIO), True),
        (os_error(errno.EACCES), True),
        (os_error(errno.EMFILE), True),
        (os_error(errno.ENOENT), False),
        (os_error(errno.ENOTDIR), False),
        (os_error(errno.ELOOP), False),
        (os_error(errno.EISDIR), False),
        (ValueError("no JSON"), False),
    ],
)
def test_a_missing_path_or_another_type_is_not_a_failure(
    error: Exception, *, expected: bool
) -> None:
    assert has_failed(error) is expected


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, TargetFull),
        (errno.EDQUOT, TargetFull),
        (errno.EROFS, TargetUnwritable),
        (errno.EIO, TargetUnwritable),
        (errno.ENAMETOOLONG, TargetRefused),
        (errno.EILSEQ, TargetRefused),
        (errno.ENOMEM, HostExhausted),
    ],
)
def test_each_error_of_the_target_has_its_class(number: int, kind: type[Exception]) -> None:
    message = f"writing 'a' failed on the target: {os.strerror(number)}"
    with pytest.raises(kind, match=message), target_errors("writing 'a'"):
        raise os_error(number)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EIO, SourceUnreadable), (errno.EMFILE, HostExhausted)]
)
def test_an_error_of_the_source_is_not_one_of_the_target(
    number: int, kind: type[Exception]
) -> None:
    message = f"reading 'a' failed in the source: {os.strerror(number)}"
    with pytest.raises(kind, match=message), source_errors("reading 'a'"):
        raise os_error(number)


def test_an_error_of_the_spool_is_transient() -> None:
    message = "writing the claim failed in the spool: No space"
    with pytest.raises(SpoolFailing, match=message) as caught, spool_errors("writing the claim"):
        raise os_error(errno.ENOSPC)
    assert caught.value.error_class == "transient"
