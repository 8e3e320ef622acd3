"""The Markdown twin of the page: tables whose columns agree, and nothing that Markdown would interpret."""

import re

import pytest

from sentiscale.report.page import plain, plain_with_code
from sentiscale.report.scaling import full_table, markdown
from tests.report import studies
from tests.report.test_report_page import STUDIES


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tables(text: str) -> list[list[list[str]]]:
    found = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    return [[cells(line) for line in table.strip().split("\n")] for table in found]


@pytest.mark.parametrize("name", STUDIES)
def test_columns_of_every_table_agree(name):
    found = tables(markdown(getattr(studies, name)()))
    assert found
    for heading, rule, *lines in found:
        assert lines
        assert {len(line) for line in (heading, rule, *lines)} == {len(heading)}
        assert all(re.fullmatch(r"---:?", cell) for cell in rule)


@pytest.mark.parametrize("name", ["complete", "timings", "wide"])
def test_tables_hold_the_numbers_of_the_page(name):
    study = getattr(studies, name)()
    found = [table for table in tables(markdown(study)) if table[0][0] == "case" and "repeats" in table[0]]
    assert len(found) == len(study.families)
    for family, (_, _, *lines) in zip(study.families, found, strict=True):
        assert [line[1:] for line in lines] == [
            list(map(str, line.cells)) for line in full_table(family).lines
        ]


def test_what_matters_comes_first():
    text = markdown(studies.complete())
    order = [
        "**Train with 2 replicas",
        "`--layout 2x1",
        "## Findings",
        "## Caveats",
        "## What was run",
        "| case",
    ]
    places = [text.index(told) for told in order]
    assert places == sorted(places)
    assert "`sentiscale plan` estimates it" in text
    assert "| 2x2 (oversubscribed) |" in text


def test_hostile_names_are_shown_as_they_are():
    text = markdown(studies.hostile())
    assert "<script" not in text.replace("\\<script", "")
    assert "<img" not in text.replace("\\<img", "")
    assert "&amp;" not in text.replace("\\&amp;", "")


def test_text_is_escaped_and_kept_on_one_line():
    assert plain("a|b\nc *d* <e> [f](g) `h`") == r"a\|b c \*d\* \<e\> \[f\](g) \`h\`"
    assert plain_with_code("use `a_b|c` or *not*") == r"use `a_b|c` or \*not\*"
    assert plain_with_code("one ` only") == r"one \` only"
