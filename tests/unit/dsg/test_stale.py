"""Records of entries that must be read again: what is still known of them."""

import pytest

from dsgmigd.dsg.entry import file_entry, link_entry
from dsgmigd.dsg.stale import (
    STALE,
    Staleness,
    Written,
    digest_in,
    is_stale,
    marked,
    written_in,
)

DIGEST = "0123456789abcdef"
FILE = file_entry(b"f", user="u", size=1, mtime=0.0, digest=DIGEST)


@pytest.mark.parametrize("mtime_ns", [0, -1, -(2**80), 2**80])
def test_what_is_known_of_a_written_file_is_found_again(mtime_ns: int) -> None:
    written = Written(DIGEST, 2**70, mtime_ns)
    assert written_in(written.record()) == written
    assert is_stale(written.record())


@pytest.mark.parametrize("record", [STALE, FILE, marked(FILE, Staleness.ATTRIBUTES)])
def test_of_no_other_record_it_is_known(record: bytes) -> None:
    assert written_in(record) is None


def test_new_attributes_leave_the_hash_valid_until_the_content_changes() -> None:
    record = marked(FILE, Staleness.ATTRIBUTES)
    assert (is_stale(record), digest_in(record)) == (True, DIGEST)
    assert marked(record, Staleness.ATTRIBUTES) == record
    assert marked(record, Staleness.CONTENT) == marked(FILE, Staleness.CONTENT) == STALE


def test_a_written_file_that_changes_must_be_read() -> None:
    assert marked(Written(DIGEST, 1, 2).record(), Staleness.ATTRIBUTES) == STALE


def test_a_link_has_no_hash_whatever_it_refers_to() -> None:
    reference = f'x","hash":"{DIGEST}'
    entry = link_entry(b"l", user="u", reference=reference)
    assert digest_in(entry) is None
    assert marked(entry, Staleness.ATTRIBUTES) == STALE


def test_a_hash_in_another_form_is_found_too() -> None:
    entry = file_entry(b"f", user="u", size=1, mtime=0.0, digest="short")
    assert digest_in(entry) == "short"
