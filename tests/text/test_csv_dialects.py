"""How a delimited file is recognised, and that reading it loses no row, whatever its quotes."""

import json
import subprocess

import numpy as np
import pytest

from sentiscale.config import PrepareSettings, resolve
from sentiscale.data.corpus import Corpus, read_reviews
from sentiscale.errors import DataError, UsageError
from sentiscale.text.formats.base import MAX_RECORD_BYTES
from sentiscale.text.labels import Reason

MB = 10**6
GOOD, BAD = "a good lamp number", "a bad lamp number"


def read(path, mode="required", block_bytes=8 * MB, **settings):
    """Texts of the rows and (line, reason) of the rejects, as prepare, evaluate and predict read a file."""
    settings = resolve(base={"prepare": settings}).prepare
    (source,) = Corpus.find([path], settings, labels=mode).sources
    texts, rejects, line = [], [], 1
    for raw in source.blocks(block_bytes):
        line += raw.lines_before
        reviews = read_reviews(raw.data, source.table, mode, too_long_record=raw.too_long)
        good = reviews.reasons == Reason.NONE
        texts += [text.decode() for text in reviews.text.filter(good.tolist()).to_pylist()]
        bad = np.flatnonzero(~good)
        rejects += [(line + int(reviews.lines[n]), Reason(reviews.reasons[n]).name.lower()) for n in bad]
        rejects += [(line + int(blank), "blank_line") for blank in reviews.blank]
        line += reviews.line_count
    return texts, sorted(rejects), source.table


def texts_of(rows=20):
    return [f"{GOOD if i % 2 else BAD} {i}" for i in range(rows)]


def lines_with(changes, template="{stars}\t{text}", rows=20, header="stars\ttext"):
    """Lines of a table; `changes` replaces the texts of some rows."""
    texts = [changes.get(i, text) for i, text in enumerate(texts_of(rows))]
    lines = [template.format(stars=5 if i % 2 else 1, text=text, row=i) for i, text in enumerate(texts)]
    return [header, *lines] if header else lines


def write(folder, lines, name="r.tsv", end="\n"):
    path = folder / name
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


MODES = pytest.mark.parametrize("mode", ["required", "none"])


@pytest.mark.parametrize("at", [5, 50_000])
@pytest.mark.parametrize("template", ["{text}", "r-{row},{text}", "t{row},{text},u{row}"])
def test_rows_between_lone_quotes_are_refused_without_types(tmp_path, template, at):
    changes = {at: '"open', at + 10: 'closing"'}
    header = ["text", "id,text", "title,text,user"][template.count(",")]
    path = write(tmp_path, lines_with(changes, template, at + 20, header), "r.csv")
    with pytest.raises(DataError, match=rf"{path}:{at + 2}: .* 11 lines that look like rows"):
        read(path, "none")
    assert len(read(path, "none", quoting="none")[0]) == at + 20
    assert len(read(path, "none", quoting="standard")[0]) == at + 10


@pytest.mark.parametrize("template", ["{text}", "r-{row},{text}", "t{row},{text},u{row}"])
def test_quoted_reviews_of_many_lines_are_one_row_each_where_quotes_are_usual(tmp_path, template):
    changes = {4: '"one\ntwo\nthree\nfour\nfive"'} | {i: f'"lamp, number {i}"' for i in range(6, 12)}
    header = ["text", "id,text", "title,text,user"][template.count(",")]
    texts, rejects, _ = read(write(tmp_path, lines_with(changes, template, 20, header), "r.csv"), "none")
    assert (len(texts), rejects) == (20, [])
    assert "one\ntwo\nthree\nfour\nfive" in texts[4]


@MODES
@pytest.mark.parametrize("name", ["r.csv", "r.txt", "r"])
@pytest.mark.parametrize("prefix", [4, 5, None])
def test_a_table_that_quotes_the_prefix_of_labels_is_a_table(tmp_path, name, prefix, mode):
    """Row `prefix` begins with it, or all labels do."""
    texts = texts_of()
    if prefix is not None:
        texts[prefix] = f"__label__2 {texts[prefix]}"
    before = "__label__" if prefix is None else ""
    rows = [
        f"{before}{1 + i % 2},{text}" if prefix is None else f"{text},{i % 2}" for i, text in enumerate(texts)
    ]
    path = write(tmp_path, ["label,text" if prefix is None else "text,label", *rows], name)
    found, rejects, table = read(path, mode)
    assert (found, rejects, table.format) == (texts, [], "csv")


@MODES
@pytest.mark.parametrize("header", ["stars\ttext", "# stars\ttext"])
def test_a_header_within_the_table_is_rejected(tmp_path, header, mode):
    lines = lines_with({}, header=header)
    texts, rejects, _ = read(write(tmp_path, [*lines, *lines, "5\ttext"]), mode)
    assert (texts, rejects) == ([*texts_of(), *texts_of(), "text"], [(22, "malformed")])


@pytest.mark.parametrize(
    ("header", "lines", "told"),
    [
        ("label^text", [], "--delimiter '^'"),
        ("label:text", [], "--delimiter :"),
        ("label,text", ["All reviews"], "tail -n +2"),
        ("label,text", ["All reviews", "2020, by week"], "tail -n +3"),
    ],
)
def test_another_delimiter_or_a_title_is_told(tmp_path, header, lines, told):
    delimiter = header[5]
    rows = [f"{i % 2}{delimiter}{text}" for i, text in enumerate(texts_of())]
    path = write(tmp_path, [*lines, header, *rows], "r.csv")
    with pytest.raises(DataError) as caught:
        read(path)
    assert told in str(caught.value)
    if "tail" in told:
        subprocess.run(str(caught.value).split("before: ")[1], shell=True, check=True, cwd=tmp_path)
        found = read(tmp_path / "reviews.csv")
    else:
        found = read(path, delimiter=delimiter)
    assert found[:2] == (texts_of(), [])


def test_usual_names_with_spaces(tmp_path):
    path = write(tmp_path, lines_with({}, header="Star Rating\tReview Text"))
    texts, rejects, table = read(path)
    assert (texts, rejects, table.label, table.stars) == (texts_of(), [], "Star Rating", True)


UNQUOTED = {
    "two quotes at the start of texts": {4: '"a bad lamp', 12: '"one more'},
    "one quote, never closed": {7: '"a good lamp'},
    "inches": {3: 'a 7" lamp', 4: '7" lamp', 5: 'lamp of 7"'},
    "a quoted word first": {4: '"Great" lamp', 8: '"Bad" lamp'},
    "a quoted word last": {4: 'lamp, "great"', 8: '"so so'},
    "three quotes": {4: '"""', 6: 'a"', 8: '"Great" lamp', 9: '"Bad" lamp'},
    "doubled quotes at the start": {4: '""so called"" lamp', 10: '"well'},
    "only a quote": {4: '"', 10: '"', 15: '"'},
    "a backslash before a quote": {4: '5\\"', 5: '"a lamp', 9: 'lamp \\"', 11: '"Great" lamp'},
    "in every second row": dict.fromkeys(range(0, 20, 2), '"lamp'),
}


@MODES
@pytest.mark.parametrize("block_bytes", [64, MB])
@pytest.mark.parametrize("changes", UNQUOTED.values(), ids=UNQUOTED)
def test_rows_of_an_unquoted_file_stay_rows_whatever_its_quotes(tmp_path, changes, mode, block_bytes):
    path = write(tmp_path, lines_with(changes))
    texts, rejects, table = read(path, mode, block_bytes)
    assert (texts, rejects) == ([changes.get(i, text) for i, text in enumerate(texts_of())], [])
    assert table.quoting == ("none" if any(text.startswith('"') for text in changes.values()) else "standard")


def test_a_stray_quote_does_not_swallow_the_next_row_of_a_table_of_four_columns(tmp_path):
    """The quote that ends the quoted field is a sign for inches in the next row."""
    changes = {4: '"a title\ta bad lamp number 4'}
    rows = lines_with(changes, '{stars}\t7" lamp\t{text}', header="stars\tproduct\ttitle\ttext")
    rows = [row if row.count("\t") == 3 else row.replace("lamp\t", "lamp\ta title\t", 1) for row in rows]
    texts, rejects, _ = read(write(tmp_path, rows))
    assert (len(texts), rejects) == (20, [])


@MODES
@pytest.mark.parametrize("block_bytes", [64, MB])
def test_a_stray_quote_far_behind_the_sample_costs_one_row(tmp_path, mode, block_bytes):
    rows = lines_with({80_000: '"a bad lamp', 80_003: '"one more'}, rows=90_000 if block_bytes == MB else 300)
    path = write(tmp_path, rows if block_bytes == MB else lines_with({200: '"a', 203: '"b'}, rows=300))
    settings = {} if block_bytes == MB else {"quoting": "standard"}
    texts, rejects, table = read(path, mode, block_bytes, **settings)
    first = 80_000 if block_bytes == MB else 200
    assert table.quoting == "standard"
    assert rejects == [(first + 2, "malformed"), (first + 5, "malformed")]
    assert len(texts) == len(rows) - 1 - 2


@MODES
def test_rows_in_a_quoted_field_far_behind_the_sample_are_refused_with_the_line(tmp_path, mode):
    """The quotes fit: 80,000 opens a field, and a delimiter follows the quote that ends it."""
    path = write(tmp_path, lines_with({80_000: '"a bad lamp', 80_003: 'a lamp of 7"'}, rows=90_000))
    with pytest.raises(DataError, match=rf"{path}:80002: .* 4 lines that look like rows") as caught:
        read(path, mode)
    assert "--quoting none" in str(caught.value)
    assert "--quoting standard" in str(caught.value)
    texts, rejects, _ = read(path, mode, quoting="none")
    assert (len(texts), rejects) == (90_000, [])
    assert len(read(path, mode, quoting="standard")[0]) == 90_000 - 3


@MODES
@pytest.mark.parametrize(
    "changes",
    [
        {4: '"a bad lamp', 9: 'a lamp of 7"'},
        {4: '"a bad lamp', 5: 'a lamp of 7"'},
        {0: '"a bad lamp', 19: 'a lamp of 7"'},
        {4: '"', 9: '"'},
        {4: '"""', 9: 'a"'},
        {4: '"a lamp', 9: '5\\"'},
        {4: '"one', 7: 'two"', 9: '"three', 11: 'four"'},
    ],
)
def test_quotes_that_could_be_of_a_quoted_review_or_of_two_rows_are_refused(tmp_path, changes, mode):
    path = write(tmp_path, lines_with(changes))
    with pytest.raises(DataError, match=rf"{path}:{min(changes) + 2}: .* lines that look like rows"):
        read(path, mode)
    assert len(read(path, mode, quoting="none")[0]) == 20


MULTI_LINE = {
    "plain": "one\ntwo\nthree",
    "delimiters": "one, two\nthree, four; five\tsix",
    "a list": "Pros:\n- cheap, small\n- good\n\nCons:\n- none, really",
    "quotes": 'He said ""wow""\nand left, ""fast""',
    "CR LF": "one\r\ntwo\r\n",
    "blank lines": "\n\none\n\n\ntwo\n",
    "a row without a label": "text, of\nmore, text",
    "stars in a text": "5 stars, I say\nno, 1 star\n",
    "line break at the end": "text\n",
    "ends with a quote": 'a ""quote""',
    "looks like a header": "label,text\nmore",
    "a comment": "# one\n# two",
}


@MODES
@pytest.mark.parametrize("block_bytes", [64, MB])
@pytest.mark.parametrize("text", MULTI_LINE.values(), ids=MULTI_LINE)
@pytest.mark.parametrize("template", ["{row},{stars},{text}", '"{row}","{stars}",{text}'])
def test_quoted_reviews_of_several_lines_stay_one_row(tmp_path, text, template, mode, block_bytes):
    changes = dict.fromkeys((0, 3, 5, 19), f'"{text}"')
    path = write(tmp_path, lines_with(changes, template, header="id,stars,text"), "r.csv")
    texts, rejects, table = read(path, mode, block_bytes)
    expected = {**dict(enumerate(texts_of())), **dict.fromkeys(changes, text.replace('""', '"'))}
    assert (texts, rejects) == ([expected[i] for i in range(20)], [])
    assert table.quoting == "standard"


def test_a_quoted_review_of_many_megabytes_is_one_row(tmp_path):
    text = "one, two\n" * (MAX_RECORD_BYTES // 10)
    path = write(tmp_path, lines_with({1: f'"{text}"'}, "{stars},{text}", header="stars,text"), "r.csv")
    texts, rejects, _ = read(path, block_bytes=MB)
    assert (len(texts), rejects) == (20, [])
    assert texts[1] == text


def test_a_quoted_list_that_looks_like_rows_is_kept_where_all_texts_are_quoted(tmp_path):
    changes = {3: "Pros:\n1,cheap\n2,small"}
    path = write(tmp_path, lines_with(changes, '{stars},"{text}"', header="stars,text"), "r.csv")
    texts, rejects, _ = read(path)
    assert (len(texts), rejects, texts[3]) == (20, [], changes[3])


@MODES
def test_backslash_escapes_are_recognised(tmp_path, mode):
    changes = dict.fromkeys((0, 3, 7), 'a lamp, \\"really\\", yes')
    path = write(tmp_path, lines_with(changes, '{stars},"{text}"', header="stars,text"), "r.csv")
    texts, rejects, table = read(path, mode)
    assert table.quoting == "backslash"
    assert (len(texts), rejects, texts[0]) == (20, [], 'a lamp, "really", yes')


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('"a \\"b\\", c"', 'a "b", c'),
        ("a\\, b", "a, b"),
        ('"a \\\\"', "a \\"),
        ('"two\\\nlines, \\"x\\" y"', 'two\nlines, "x" y'),
        ('"C:\\dir, \\"x\\" y"', 'C:\\dir, "x" y'),
        ('"both ""a"" and \\"b\\", c"', 'both "a" and "b", c'),
    ],
)
def test_backslashes_before_quotes_delimiters_and_themselves(tmp_path, written, text):
    path = write(tmp_path, lines_with({3: written}, "{stars},{text}", header="stars,text"), "r.csv")
    texts, rejects, _ = read(path, quoting="backslash")
    assert (len(texts), rejects, texts[3]) == (20, [], text)


@pytest.mark.parametrize("text", ["C:\\dir\\", "a\\\\b", "\\Nice", '\\""quoted\\""', "one\\ntwo"])
def test_backslashes_of_a_well_quoted_file_are_text(tmp_path, text):
    path = write(tmp_path, lines_with({3: text}, '{stars},"{text}"', header="stars,text"), "r.csv")
    texts, rejects, table = read(path)
    assert (len(texts), rejects, table.quoting) == (20, [], "standard")
    assert texts[3] == text.replace('""', '"')


def test_a_dump_with_escaped_tabs_and_line_breaks_is_read_with_backslashes(tmp_path):
    path = write(tmp_path, lines_with({3: "one\\\ttwo\\\nthree"}, rows=20))
    texts, rejects, table = read(path)
    assert (len(texts), rejects, table.quoting) == (20, [], "backslash")
    assert texts[3] == "one\ttwo\nthree"


@MODES
@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["label,text"] + [f"{i % 2},lamp {i}, really" for i in range(20)], "names 2 columns.* has 3 fields"),
        (["text,label"] + [f"lamp {i}, really,{i % 2}" for i in range(20)], "names 2 columns.* has 3 fields"),
        (["id,text,label"] + [f"{i},lamp" for i in range(20)], "names 3 columns.* has 2 fields"),
        (["label;text"] + [f"{i % 2};lamp; {i}; x" for i in range(20)], "has 4 fields.*semicolons in text"),
    ],
)
def test_rows_that_do_not_fit_the_header_are_refused_with_an_example(tmp_path, lines, told, mode):
    path = write(tmp_path, lines, "r.csv")
    with pytest.raises(DataError, match=told) as caught:
        read(path, mode)
    assert f"{path}:2: " in str(caught.value)
    assert lines[1] in str(caught.value)
    assert "20 of the first 20 rows do not fit" in str(caught.value)


def test_the_example_of_a_long_line_is_shortened(tmp_path):
    path = write(tmp_path, ["label,text"] + ["1," + "x" * 500 + ",y"] * 3, "r.csv")
    with pytest.raises(DataError) as caught:
        read(path)
    assert "x" * 77 + "\u2026. " in str(caught.value)
    assert "x" * 78 not in str(caught.value)


@MODES
@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"'])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_separator_line_of_excel_is_obeyed(tmp_path, first, end, mode):
    lines = [first, *lines_with({3: "a, b, c"}, "{stars};{text}", header="stars;text")]
    path = write(tmp_path, lines, "r.csv", end)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    texts, rejects, table = read(path, mode, 64)
    assert (len(texts), rejects, table.lines_before) == (20, [], 2)


@pytest.mark.parametrize("sign", [",", "\t", "|", "^", "\xa7"])
def test_the_separator_line_may_name_any_character(tmp_path, sign):
    rows = [f"sep={sign}", f"stars{sign}text", *[f"{i % 2 * 4 + 1}{sign}lamp {i}" for i in range(20)]]
    (tmp_path / "r.csv").write_bytes("".join(row + "\n" for row in rows).encode("latin-1"))
    texts, rejects, _ = read(tmp_path / "r.csv")
    assert (len(texts), rejects) == (20, [])


@MODES
@pytest.mark.parametrize("name", ["r.txt", "r.TXT", "r.csv", "r"])
@pytest.mark.parametrize("delimiter", ["\t", ";", ","])
def test_a_table_is_read_as_one_whatever_its_name(tmp_path, name, delimiter, mode):
    header, template = f"stars{delimiter}text", "{stars}" + delimiter + "{text}"
    path = write(tmp_path, lines_with({}, template, header=header), name)
    texts, rejects, table = read(path, mode)
    assert (table.format, len(texts), rejects) == ("csv", 20, [])


@pytest.mark.parametrize(
    "lines",
    [
        ["text, and more text", *["a review, with a comma"] * 20],
        ["a review", *["text"] * 20],
        ["text", *["a review"] * 20],
        ["Review: good, bad", *["a review"] * 20],
        ["text\tstars", *["a review without tabs"] * 20],
        ["review, rating", *["good", "bad, really, no, never"] * 10],
    ],
)
def test_lines_of_plain_text_are_no_table(tmp_path, lines):
    texts, _, table = read(write(tmp_path, lines, "r.txt"), "none")
    if table.format == "csv":
        assert lines[0].startswith("text, and"), "every line has one comma, and the first names a text"
    else:
        assert texts == lines


def test_labelled_lines_with_tabs_are_no_table(tmp_path):
    lines = ["__label__1\ttext", *[f"__label__{i % 2 + 1}\tlamp {i}" for i in range(20)]]
    texts, _, table = read(write(tmp_path, lines, "r.txt"))
    assert (table.format, len(texts)) == ("fasttext", 21)


@MODES
@pytest.mark.parametrize(
    ("header", "template"),
    [
        ('"stars","text"', '"{row}",{stars},"{text}"'),
        ("stars,text", "{row},{stars},{text}"),
        ("stars\ttext", "{row}\t{stars}\t{text}"),
        ('"stars";"text"', '"lamp {row}";{stars};"{text}"'),
    ],
)
def test_a_header_without_a_name_for_the_row_names_of_r(tmp_path, header, template, mode):
    texts, rejects, table = read(write(tmp_path, lines_with({}, template, header=header), "r.csv"), mode)
    assert (texts, rejects, table.columns) == (texts_of(), [], ("", "stars", "text"))


@pytest.mark.parametrize(
    ("header", "template"),
    [
        ("text,stars", "lamp {row}, really,{stars}"),
        ("stars,text", "{stars},lamp {row}, really"),
        ("text,stars", "5, or so,{stars}"),
    ],
)
def test_commas_in_text_are_not_taken_for_row_names(tmp_path, header, template):
    with pytest.raises(DataError, match="commas in text that is not quoted"):
        read(write(tmp_path, lines_with({}, template, header=header), "r.csv"))


@MODES
@pytest.mark.parametrize(
    ("header", "template", "columns"),
    [
        ("stars;text", "{stars};{text};", ("stars", "text")),
        ("stars;text;", "{stars};{text};", ("stars", "text")),
        ("stars;text;;", "{stars};{text}", ("stars", "text")),
        ("stars;text;;;", "{stars};{text};;;", ("stars", "text")),
        ('"stars","text",', '"{stars}","{text}",', ("stars", "text")),
        ("stars,text", '{stars},"{text}",""', ("stars", "text")),
        ("stars\ttext", "{stars}\t{text}\t", ("stars", "text")),
        ("stars,text,", "{stars},{text},x", ("stars", "text", "")),
    ],
)
def test_delimiters_at_the_end_of_lines_are_no_columns(tmp_path, header, template, columns, mode):
    texts, rejects, table = read(write(tmp_path, lines_with({}, template, header=header), "r.csv"), mode)
    assert (texts, rejects, table.columns) == (texts_of(), [], columns)


def test_text_after_the_last_column_is_not_dropped(tmp_path):
    path = write(tmp_path, lines_with({3: "one;two"}, "{stars};{text};", header="stars;text"), "r.csv")
    texts, rejects, _ = read(path)
    assert (len(texts), rejects) == (19, [(5, "malformed")])


NO_HEADER = {
    '{stars},"{text}"': ("--text-column 2", "--label-column 1"),
    '"{row}","{text}",{stars}': ("--text-column 2", "--label-column 3"),
    '"0","{row}","user","{text}"': ("--text-column 4", "--label-column NUMBER"),
    "{text}\t{stars}": ("--text-column 1", "--label-column 2"),
}


@pytest.mark.parametrize(("template", "flags"), NO_HEADER.items())
def test_a_missing_header_is_noticed_and_the_flags_are_named(tmp_path, template, flags):
    lines = [line.replace("5,", "9,", 1) for line in lines_with({}, template, header=None)]
    path = write(tmp_path, lines, "r.csv")
    with pytest.raises(DataError) as caught:
        read(path)
    assert f"{path}:1: the first line looks like a row" in str(caught.value)
    assert f"--no-header {' '.join(flags)}" in str(caught.value)


def test_columns_are_numbered_from_1_where_there_is_no_header(tmp_path):
    path = write(tmp_path, lines_with({}, '"{row}",{stars},"{text}"', header=None), "r.csv")
    texts, rejects, table = read(path, header=False, text_column="3", stars_column="2")
    assert (texts, rejects, table.columns) == (texts_of(), [], ("1", "2", "3"))


def test_columns_are_named_in_order(tmp_path):
    path = write(tmp_path, lines_with({}, '"{row}",{stars},"{text}"', header=None), "r.csv")
    texts, rejects, table = read(path, header=False, columns="id,stars,text")
    assert (texts, rejects, table.columns) == (texts_of(), [], ("id", "stars", "text"))
    with pytest.raises(UsageError, match=r"names 2 columns, but the records .* have 3 fields"):
        read(path, header=False, columns="stars,text")
    with pytest.raises(DataError, match=r"looks like a row.*--no-header"):
        read(path, columns="id,stars,text")


def test_names_in_order_replace_those_of_a_header(tmp_path):
    path = write(tmp_path, lines_with({}, "{stars},{text}", header="a,b"), "r.csv")
    texts, rejects, table = read(path, columns="stars,text")
    assert (texts, rejects, table.columns) == (texts_of(), [], ("stars", "text"))


def test_the_first_row_is_a_review_where_there_is_no_header(tmp_path):
    path = write(tmp_path, ["#love it,5", "sep=;,1", '"quoted, text",5', "plain,1"], "r.csv")
    texts, rejects, _ = read(path, header=False, text_column="1", stars_column="2", delimiter="comma")
    assert (texts, rejects) == (["#love it", "sep=;", "quoted, text", "plain"], [])


@MODES
@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        (["# exported", "# by, someone, today", "stars,text"], ("stars", "text")),
        (["#stars,text"], ("stars", "text")),
        (["# exported", "# stars,text"], ("stars", "text")),
        (["#", "", "stars,text"], ("stars", "text")),
        (['# a "quote', "stars,text"], ("stars", "text")),
    ],
)
def test_comments_before_the_header_are_skipped(tmp_path, lines, columns, mode):
    rows = lines_with({}, "{stars},{text}", header=None)
    texts, rejects, table = read(write(tmp_path, [*lines, *rows], "r.csv"), mode)
    assert (texts, rejects, table.columns, table.lines_before) == (texts_of(), [], columns, len(lines))


def test_a_column_named_with_a_number_sign_is_a_column(tmp_path):
    lines = lines_with({}, "{row},{stars},{text}", header="#,stars,text")
    texts, rejects, table = read(write(tmp_path, lines, "r.csv"))
    assert (texts, rejects, table.columns) == (texts_of(), [], ("#", "stars", "text"))


@MODES
@pytest.mark.parametrize("template", ['{stars}, "{text}, really"', '{stars}, "{text}, really" , {row}'])
def test_spaces_around_quotes_are_ignored(tmp_path, template, mode):
    header = "stars, text" if template.count("{") == 2 else "stars, text, row"
    texts, rejects, table = read(write(tmp_path, lines_with({}, template, header=header), "r.csv"), mode)
    assert (texts, rejects, table.spaces) == ([f"{text}, really" for text in texts_of()], [], True)


@pytest.mark.parametrize(
    ("named", "delimiter"),
    [
        ("tab", "\t"),
        ("\\t", "\t"),
        ("\t", "\t"),
        ("Semicolon", ";"),
        ("comma", ","),
        ("pipe", "|"),
        ("^", "^"),
    ],
)
def test_a_delimiter_is_named_or_typed(tmp_path, named, delimiter):
    header, template = f"stars{delimiter}text", "{stars}" + delimiter + "{text}"
    texts, rejects, table = read(
        write(tmp_path, lines_with({}, template, header=header), "r.csv"), delimiter=named
    )
    assert (texts, rejects, table.delimiter) == (texts_of(), [], delimiter)


@pytest.mark.parametrize("named", ["", "::", '"', "\\", "\n", "tabs", "\xa7"])
def test_an_impossible_delimiter_is_refused(named):
    with pytest.raises(UsageError, match=r"delimiter is .*allowed are comma, tab"):
        resolve(base={"prepare": {"delimiter": named}})


def test_settings_survive_json():
    settings = resolve(base={"prepare": {"columns": "a,b", "delimiter": "tab"}}).prepare
    assert type(settings).model_validate(json.loads(settings.model_dump_json())) == settings


def test_a_line_that_might_be_the_header_but_is_never_closed_is_not_one(tmp_path):
    content = (
        b'product~text~stproduct~text~stars\n"works"~ars\n"works"~"1 \t\rlamp ba"d \n it\'s"~5.0\n'
        b'\xff"label,te\\"e ^ 5 \\ \xf0\x9f,\x98\x80 \r"~1.0'
    )
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(DataError, match="2 columns named 'text'"):
        Corpus.find(tmp_path / "s.csv", PrepareSettings(text_column="text", delimiter="~"))
