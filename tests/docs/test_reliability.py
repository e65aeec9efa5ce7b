"""Each promise of docs/reliability.md is held by tests that exist."""

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_the_tests_that_are_named_exist():
    named = re.findall(r"`(test_\w+)`", (PROJECT / "docs" / "reliability.md").read_text())
    there = set()
    for file in (PROJECT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"^def (test_\w+)\(", file.read_text(), flags=re.MULTILINE))
    assert len(named) > 30
    assert [name for name in named if name not in there] == []
