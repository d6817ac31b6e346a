"""Read the files in `.dsg/` piece by piece: whoever owns the dataset may have put anything there.

Raises: Unfit for what is not a regular file or is too large; ValueError or RuntimeError for what is
not lz4; OSError, if the file system failed; and whatever the checkpoint raises.
"""

import os
import stat
from collections.abc import Callable, Iterator

import lz4.frame

from dsgmigd.host.file_errors import status_of
from dsgmigd.host.regular import DOCUMENT_LIMIT_BYTES, Unfit, read_pieces, read_regular

# Eighty million entries, packed or unpacked.
MANIFEST_LIMIT_BYTES = 16 * 1024**3
_PIECE_BYTES = 256 * 1024

Checkpoint = Callable[[], None]


def metadata_directory(root: str) -> str:
    """Return the path of `.dsg` below `root`.

    Raises Unfit if it or `archive` in it is there and not a directory: no link is followed.
    """
    directory = os.path.join(root, ".dsg")
    for path in (directory, os.path.join(directory, "archive")):
        status = status_of(path)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            raise Unfit("it is not a directory", path)
    return directory


def read_whole(path: str) -> bytes:
    """Return the content of a document that is parsed as a whole."""
    return read_regular(path, DOCUMENT_LIMIT_BYTES)


def read_packed(path: str, checkpoint: Checkpoint = lambda: None) -> Iterator[bytes]:
    """Yield the content of a manifest, archived or not, as it is on disk."""
    return read_pieces(path, MANIFEST_LIMIT_BYTES, checkpoint=checkpoint)


def read_unpacked(path: str, checkpoint: Checkpoint = lambda: None) -> Iterator[bytes]:
    """Yield the content of one lz4 frame in pieces; a byte on disk can become 255 of them."""
    decompressor = lz4.frame.LZ4FrameDecompressor()
    left = MANIFEST_LIMIT_BYTES
    for packed in read_packed(path, checkpoint):
        if decompressor.eof:
            raise ValueError(f"data after the end of the lz4 frame in {path}")
        piece = decompressor.decompress(packed, _PIECE_BYTES)
        while piece:
            left -= len(piece)
            if left < 0:
                raise Unfit(f"its content is larger than {MANIFEST_LIMIT_BYTES} bytes", path)
            checkpoint()
            yield piece
            has_more = not (decompressor.needs_input or decompressor.eof)
            piece = decompressor.decompress(b"", _PIECE_BYTES) if has_more else b""
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError(f"{path} is not one complete lz4 frame")
