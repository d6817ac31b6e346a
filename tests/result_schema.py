"""The JSON Schemas of requests and results, and what in a result is not as they say.

The published schema lets new keys come, as readers have to. Here it does not, so that a key that
is new in the code is one in the schema too.
"""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

_SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_SCHEMAS / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(document)
    return document


REQUEST = _read("request")
RESULT = _read("result")
LINE = _read("ledger")


def _strict(node: Any) -> Any:
    """Return a schema that knows all keys that there may be."""
    if node == {"$ref": "request.schema.json"}:
        return REQUEST
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _strict(value) for key, value in node.items()}
    if node.get("type") in ("object", ["object", "null"]) and "properties" in node:
        made.setdefault("additionalProperties", False)
    return made


_VALIDATOR = Draft202012Validator(_strict(RESULT))
_LINES = Draft202012Validator(_strict(LINE))


def faults(result: object) -> list[str]:
    """Return what of a result is not as docs/schemas/result.schema.json says."""
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in _VALIDATOR.iter_errors(result)
    ]


def line_faults(line: object) -> list[str]:
    """Return what of a line of the ledger is not as docs/schemas/ledger.schema.json says."""
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in _LINES.iter_errors(line)
    ]
