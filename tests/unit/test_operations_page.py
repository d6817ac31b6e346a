"""docs/operations.md describes every error code with its class, and the bounds of documents."""

import inspect
import re
from pathlib import Path

from dsgmigd import errors
from dsgmigd.dsg.scope import CONFIG_LIMIT_BYTES
from dsgmigd.host.hashing import HOLES_LIMIT_BYTES
from dsgmigd.host.regular import DOCUMENT_LIMIT_BYTES
from dsgmigd.request import BODY_LIMIT_BYTES
from dsgmigd.source.provenance import PUSH_LOG_LIMIT_BYTES
from dsgmigd.verification.metadata.files import MANIFEST_LIMIT_BYTES
from dsgmigd.verification.metadata.other_layouts import UNSORTED_LIMIT_BYTES

PAGE = Path(__file__).parents[2] / "docs/operations.md"


def test_every_error_code_stands_in_the_table_with_its_class() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass)]
    kinds = [one for one in classes if issubclass(one, errors.Explained)]
    assert sorted(rows) == sorted({(one.code, one.error_class) for one in kinds})


def test_the_bounds_of_what_others_wrote_are_those_of_the_code() -> None:
    rows = re.findall(
        r"^  \| .* \| (\d+) ([KMGT])iB[^|]* \| ", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [int(number) << 10 * ("KMGT".index(unit) + 1) for number, unit in rows] == [
        BODY_LIMIT_BYTES,
        CONFIG_LIMIT_BYTES,
        PUSH_LOG_LIMIT_BYTES,
        DOCUMENT_LIMIT_BYTES,
        MANIFEST_LIMIT_BYTES,
        UNSORTED_LIMIT_BYTES,
        HOLES_LIMIT_BYTES,
    ]
