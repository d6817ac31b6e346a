"""Threads that read what the verifier hashes.

Leaving error: HostExhausted, if the host starts no further thread.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from dsgmigd.file_errors import host_exhausted

# Python tells it by nothing else: it is a RuntimeError like others.
_NO_THREAD = "can't start new thread"


@contextmanager
def reading_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads; in the end none of them holds a descriptor any more."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="hash")
    try:
        yield pool
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        raise host_exhausted("no thread that reads could be started") from error
    finally:
        pool.shutdown(cancel_futures=True)
