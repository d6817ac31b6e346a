"""Writing a request into the spool.

Guarantees: a request appears under its name complete, in one rename that replaces nothing.

Raises: SpoolUnusable, OSError when the spool's file system fails.
"""

import contextlib
import json
import os
import uuid

from dsgmigd.errors import SpoolUnusable
from dsgmigd.host.durable import sync_directory, sync_file, write_durably
from dsgmigd.host.syscalls import rename_noreplace
from dsgmigd.names import RepoName
from dsgmigd.request import Request
from dsgmigd.spool.spool import Spool


def submit_request(spool: Spool, repo: RepoName, request: Request) -> bool:
    """Write a request for `repo`; False if one is already waiting.

    Raises SpoolUnusable if the caller may not write to the spool.
    """
    spool.check()
    document = request.to_json()
    body = json.dumps(document).encode() if document else b""
    temporary = spool.layout.submission(uuid.uuid4().hex)
    try:
        write_durably(temporary, body, 0o644)
        rename_noreplace(temporary, spool.layout.request(repo))
    except FileExistsError:
        return False
    except PermissionError as error:
        raise SpoolUnusable(
            f"you may not write to the spool {spool.directory}",
            hint="only root and the members of its group may submit",
        ) from error
    finally:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            os.unlink(temporary)
    _sync_submitted(spool, repo)
    return True


def _sync_submitted(spool: Spool, repo: RepoName) -> None:
    try:
        sync_directory(spool.directory)
    except PermissionError:  # the group may write to the spool, but not read it
        # If it is claimed already, the claim put it on disk; the file of that name may be another.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            sync_file(spool.layout.request(repo))
