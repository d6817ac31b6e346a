"""Evidence that stands without us: what was in each published snapshot, path by path, by SHA-256.

Owns the format of evidence (docs/custody.md): an entry for every path, a root hash over all entries
of a snapshot, a statement about it, signatures by ssh-keygen, bags in the form of BagIt.
Guarantees: what did not change is not read again; nothing here needs a pool or a source, except to
read the files of a snapshot that is mounted.
Raises: EvidenceDamaged, and the errors of `host.file_errors`.
Start reading in `entry` (what is said of a path), then `table` and `statement`.
"""

FACE = ("bag", "signing", "statement", "store", "taker")
