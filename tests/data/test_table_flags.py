"""The flags that say how a table is written, with prepare, evaluate and predict."""

import json

import pytest

ROWS = [f'{1 + i % 2}^"{"good" if i % 2 else "bad"} film, number {i}"' for i in range(40)]
FLAGS = {
    "by number": ("--no-header", "--delimiter", "^", "--label-column", "1", "--text-column", "2"),
    "by name": ("--no-header", "--delimiter", "^", "--columns", "label,text"),
    "from a file": ("--config", "settings.toml"),
}


@pytest.fixture
def table(write):
    write("settings.toml", '[prepare]\nheader = false\ndelimiter = "^"\ncolumns = ["label", "text"]\n')
    return write("r.csv", ROWS)


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_a_table_without_a_header_is_read_by_all_verbs(cli, model, table, flags):
    done = cli("prepare", table, "--out", "data", "--json", *flags)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert (counts["records"], counts["continuation_lines"], counts["rejected"]["total"]) == (40, 0, 0)
    done = cli("evaluate", model, table, "--json", *flags)
    assert (done.returncode, json.loads(done.stdout)["rows"]) == (0, 40)
    done = cli("predict", model, table, *flags)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 40)
    done = cli("predict", model, table, "--out", "out.jsonl", "--prefix", "p_", *flags)
    assert done.returncode == 0, done.stderr


def test_all_verbs_refuse_a_table_that_was_merged_by_quotes_and_read_it_unquoted(cli, model, write):
    lines = [f"{1 + i % 2}\t{'good' if i % 2 else 'bad'} film {i}" for i in range(40)]
    lines[3], lines[7] = '2\t"good film 3', '2\tgood film of 7"'
    table = write("r.tsv", ["label\ttext", *lines])
    for verb in (("prepare", table, "--out", "data"), ("evaluate", model, table), ("predict", model, table)):
        done = cli(*verb)
        assert done.returncode == 3
        assert f"{table}:5: " in done.stderr
        assert "--quoting none" in done.stderr
    done = cli("prepare", table, "--out", "data", "--quoting", "none", "--json")
    assert json.loads(done.stdout)["records"] == 40
    done = cli("evaluate", model, table, "--quoting", "none", "--json")
    assert json.loads(done.stdout)["rows"] == 40
    assert len(cli("predict", model, table, "--quoting", "none").stdout.splitlines()) == 40


def test_lines_in_quoted_reviews_are_counted(cli, write):
    rows = [f'{1 + i % 2},"{"good" if i % 2 else "bad"}\n\nfilm, {i}"' for i in range(40)]
    done = cli("prepare", write("r.csv", ["label,text", *rows]), "--out", "data")
    assert "40 records; 80 lines continue a quoted field" in done.stdout


def test_malformed_rows_say_how_many_fields_they_have(cli, write):
    rows = [f"{1 + i % 2},{'good' if i % 2 else 'bad'} film {i}" for i in range(40)]
    rows[5] = "2,good film, really"
    done = cli("prepare", write("r.csv", ["label,text", *rows]), "--out", "data")
    assert "malformed 1: " in done.stdout
    assert "r.csv:7: 3 fields, 2 columns: 2,good film, really" in done.stdout


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--quoting", "double"), "quoting is 'double'|'auto', 'standard', 'backslash' or 'none'"),
        (("--delimiter", "::"), "delimiter is '::'; allowed are comma, tab"),
        (("--columns", "a,a"), "each name may occur only once"),
    ],
)
def test_impossible_flags_are_usage_errors(cli, table, flags, told):
    done = cli("prepare", table, "--out", "data", *flags)
    assert done.returncode == 2
    assert any(part in done.stderr for part in told.split("|"))
