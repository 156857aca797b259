"""The pages: links lead somewhere, and tables are whole."""

import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
RULE = re.compile(r"\|[-:| ]*-[-:| ]*\|")  # under the head of a table


def pages():
    found = list(ROOT.glob("*.md"))
    for folder in ("docs", "examples", "models", "tests"):
        found += (ROOT / folder).rglob("*.md")
    return sorted(str(page.relative_to(ROOT)) for page in found)


def anchors(text):
    """What GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", pages())
def test_links_lead_somewhere(name):
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(CODE.sub("", BLOCK.sub("", text))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("name", pages())
def test_tables_are_whole(name):
    lines = CODE.sub("code", (ROOT / name).read_text(encoding="utf-8")).splitlines()
    for number, line in enumerate(lines):
        if not RULE.fullmatch(line):
            continue
        rows = list(itertools.takewhile(lambda row: row.startswith("|"), lines[number + 1 :]))
        assert rows, f"the table of line {number + 1} has no row"
        for row in [lines[number - 1], *rows]:
            assert row.count("|") - row.count("\\|") == line.count("|"), row
