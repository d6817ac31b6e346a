"""docs/operations.md tells of every error code, with its class."""

import inspect
import re
from pathlib import Path

from dsgmigd import errors

PAGE = Path(__file__).parents[2] / "docs/operations.md"


def test_every_error_code_stands_in_the_table_with_its_class() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass)]
    kinds = [one for one in classes if issubclass(one, errors.DsgmigdError)]
    assert sorted(rows) == sorted((one.code, one.error_class) for one in kinds)
