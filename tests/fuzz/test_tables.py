"""A short run of tables.py: random tables in random dialects, some of them damaged, lose no line."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.tables import Table, check, draw_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_no_line_and_no_byte_of_a_row_is_lost(folder, rng):
    check(draw_table(rng), folder)


def test_the_tables_are_read_and_not_only_refused(folder):
    rng = random.Random(7)
    outcomes = Counter(check(draw_table(rng), folder) for _ in range(200))
    assert outcomes["read"] > 80
    assert outcomes["read in part"] > 20
    assert outcomes["refused"] > 10


@pytest.mark.parametrize(
    "content",
    [
        b'"\nstars,text\n1,a\n',
        b'stars,text\n1,"""\n5,b\n',
        b'stars,text\n1,"a\n5,"b\n1,c"\n',
        b'stars,text\r1,"a\rb"x\r5,c\r',
        b'stars\ttext\n1\t"a"\t\n5\t"b\nc"\td\n1\te\n',
        b'stars,text\n1,a\\\n5,"b\\"\n1,c\n',
        b'stars,"te\nxt",text\n1,a,b\n',
        b"stars,text\n",
        b"stars,text\n\n\n",
    ],
)
def test_tables_that_were_hard(folder, content):
    check(Table(content, {"text_column": "text"}), folder)
