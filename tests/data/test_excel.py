"""Excel workbooks, written by hand, so that no other library is needed."""

import io
import zipfile
from xml.sax.saxutils import escape

import pytest

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.errors import DataError
from tests.data.test_corpus import read

pytest.importorskip("python_calamine", reason="the extra 'excel' is not installed")

SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def workbook(rows, first=1, sheets=1):
    """An .xlsx file with one sheet whose rows begin at row `first`."""
    cells = []
    for number, row in enumerate(rows, first):
        cells.append(f'<row r="{number}">')
        for place, value in enumerate(row):
            name = f"{chr(65 + place)}{number}"
            if isinstance(value, str):
                cells.append(f'<c r="{name}" t="inlineStr"><is><t>{escape(value)}</t></is></c>')
            elif value is not None:
                cells.append(f'<c r="{name}"><v>{value}</v></c>')
        cells.append("</row>")
    main = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"

    def relations(kind, target):
        relation = f'<Relationship Id="r1" Type="{OFFICE}/{kind}" Target="{target}"/>'
        return f'<Relationships xmlns="{PACKAGE}/relationships">{relation}</Relationships>'

    files = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
        f'<Default Extension="xml" ContentType="{main}"/></Types>',
        "_rels/.rels": relations("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook xmlns="{SHEET}" xmlns:r="{OFFICE}">'
        + "<sheets>"
        + "".join(f'<sheet name="Sheet {n}" sheetId="{n}" r:id="r1"/>' for n in range(1, sheets + 1))
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations("worksheet", "worksheets/sheet1.xml"),
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{SHEET}">'
        f"<sheetData>{''.join(cells)}</sheetData></worksheet>",
    }
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


ROWS = [
    ("id", "stars", "text"),
    (1, 5, 'good, "really"\nyes'),
    (2, 1.0, "bad ☹"),
    (3, None, "no stars"),
    (4, 5, None),
]
EXPECTED = ([(1, 'good, "really"\nyes'), (0, "bad ☹")], [(4, "no_label"), (5, "no_text")])


@pytest.mark.parametrize("name", ["a.xlsx", "a.csv", "no-suffix", "a.xls"])
def test_the_first_sheet_is_a_table(write, name):
    path = write(name, workbook(ROWS))
    assert read(path) == EXPECTED
    assert read(path, text_column="text", stars_column="stars", format="excel") == EXPECTED


def test_rows_keep_their_numbers(write):
    reviews, rejects = read(write("a.xlsx", workbook(ROWS, first=4)))
    assert reviews == EXPECTED[0]
    assert rejects == [(7, "no_label"), (8, "no_text")]


def test_many_rows(write):
    rows = [("text", "label"), *((f"review {number}", number % 2) for number in range(10_000))]
    reviews, rejects = read(write("a.xlsx", workbook(rows)))
    assert reviews == [(number % 2, f"review {number}") for number in range(10_000)]
    assert rejects == []


def test_of_several_sheets_the_first_is_read_and_named(write):
    corpus = Corpus.find(write("a.xlsx", workbook(ROWS, sheets=2)))
    (note,) = corpus.notes
    assert "2 sheets; only the first, 'Sheet 1'" in note
    assert Corpus.find(write("b.xlsx", workbook(ROWS))).notes == []


def test_in_an_archive_and_a_folder(write, tmp_path):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("d/a.xlsx", workbook(ROWS))
    assert read(write("r.zip", sink.getvalue())) == EXPECTED
    write("f/a.xlsx", workbook(ROWS))
    assert read(tmp_path / "f") == EXPECTED


def document():
    """The beginning of a .docx file."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<document/>")
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (workbook([]), "no column with a usual name"),
        (workbook([("id", "words"), (1, "x")]), "It has: id, words"),
        (workbook(ROWS)[:500], "damaged"),
        (b"text,stars\ngood,5\n", "not an Excel workbook"),
        (document(), "Word document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000), "CSV"),
    ],
)
def test_other_workbooks_are_refused(write, content, told):
    with pytest.raises(DataError) as caught:
        Corpus.find(write("a.xlsx", content), PrepareSettings())
    assert told in str(caught.value)


def test_without_the_extra_the_remedy_is_named(write, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "python_calamine", None)
    with pytest.raises(DataError, match=r"pip install 'sentiscale\[excel\]'"):
        Corpus.find(write("a.xlsx", workbook(ROWS)))


def test_predictions_copy_the_columns(write, cli, model, tmp_path):
    write("a.xlsx", workbook(ROWS))
    done = cli("predict", model, "a.xlsx", "--out", "p.csv")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0].startswith('"id","stars","text","line"')
    assert '"2","1","bad ☹",3,' in lines[3]
