"""Decision records keep their form, and their evidence exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs/explanations/decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name[:4])
class TestADecisionRecord:
    def test_has_its_number_and_date_and_is_a_page_at_most(self, record):
        text = record.read_text(encoding="utf-8")

        assert text.startswith(f"# {int(record.name[:4])}. ")
        assert re.search(r"^Date: \d{4}-\d\d-\d\d\. Status: (accepted|superseded by )", text, re.M)
        assert len(text.splitlines()) <= 60

    def test_gives_evidence(self, record):
        text = record.read_text(encoding="utf-8")

        found = re.search(r"^## Evidence\n\n(\S.*)", text, re.M)

        assert found is not None

    def test_names_only_files_that_exist(self, record):
        text = record.read_text(encoding="utf-8")
        named = re.findall(r"`((?:tests|src|benchmarks|docs)/[\w/.]+)`", text)

        assert not [name for name in named if not (FOLDER.parents[2] / name).exists()]

    def test_is_in_the_index_under_its_title(self, record):
        title = record.read_text(encoding="utf-8").splitlines()[0].split(". ", 1)[1]
        index = (FOLDER / "README.md").read_text(encoding="utf-8")

        assert f"]({record.name}) | {title} |" in index


def test_there_are_records_to_check():
    assert len(RECORDS) >= 6
