"""What a bag says of itself."""

from dsgmigd.custody.bag_layout import bag_info, bag_name, oxum_line
from dsgmigd.custody.table import Table
from tests.unit.custody.trees_with_evidence import statement_of


def test_a_bag_says_what_it_is_of_and_how_much() -> None:
    statement = statement_of(Table(), files=2, size_bytes=30)
    assert bag_name(statement) == "SV-s3"
    assert oxum_line(statement) == "Payload-Oxum: 30.2"
    lines = bag_info(statement, at="2026-11-30", version="1").decode().splitlines()
    assert "External-Identifier: zsd/SV@s3" in lines
    assert f"Evidence-Root-SHA256: {Table().root()}" in lines
    assert "Payload-Oxum: 30.2" in lines
