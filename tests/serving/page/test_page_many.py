"""Many reviews on the page: files, table, sorting, filters, means, download."""

from collections import defaultdict

import pytest
from playwright.sync_api import expect

from tests.serving.page.driving import as_csv, ask

WORDS = ["great", "bad", "good", "not bad", "a film", "not good", "the film", "great!"]
ROWS = [
    [f"{at % 5 + 1}", f"kind {at % 3}", f'It is {WORDS[at % 8]},\nand "{WORDS[(at * 5) % 7]}" no. {at}']
    for at in range(60)
]
TABLE = as_csv([["stars", "product", "review"], *ROWS])


@pytest.fixture
def labelled(driver):
    """A file of sixty reviews with line ends inside quotes, labelled."""
    driver.choose_text("reviews.csv", TABLE)
    driver.wait_for_labels(60)
    return driver


@pytest.fixture(scope="module")
def expected(address):
    predictions = ask(address, [row[2] for row in ROWS])
    assert {prediction["label"] for prediction in predictions} == {"negative", "positive"}
    return predictions


def test_a_file_with_line_ends_inside_quotes_has_the_right_rows(labelled, expected):
    expect(labelled.page.locator("#chosen-size")).to_have_text("60 reviews, 3 columns")
    assert labelled.column("Text") == [row[2] for row in ROWS[:25]]
    assert labelled.column("Label") == [prediction["label"] for prediction in expected[:25]]
    labelled.page.get_by_role("button", name="Later").click()
    assert labelled.column("stars") == [row[0] for row in ROWS[25:50]]
    expect(labelled.page.locator("#position")).to_have_text("26\u201350 of 60")


def test_sorting_by_probability_and_by_an_own_column(labelled, expected):
    labelled.sort("Probability")
    head = labelled.page.locator("#rows-head th", has_text="Probability")
    expect(head).to_have_attribute("aria-sort", "ascending")
    order = sorted(range(60), key=lambda at: (expected[at]["probability"], at))
    assert labelled.column("#") == [str(at + 1) for at in order[:25]]
    labelled.sort("Probability")
    expect(head).to_have_attribute("aria-sort", "descending")
    order = sorted(range(60), key=lambda at: (-expected[at]["probability"], at))
    assert labelled.column("#") == [str(at + 1) for at in order[:25]]
    labelled.sort("stars")
    assert labelled.column("stars") == ["1"] * 12 + ["2"] * 12 + ["3"]
    expect(head).not_to_have_attribute("aria-sort", "descending")


def test_filters_by_label_and_text_find_what_python_finds(labelled, expected):
    labelled.page.locator("#filter-text").fill("No. 1")
    wanted = [at for at, row in enumerate(ROWS) if "no. 1" in row[2].lower()]
    expect(labelled.page.locator("#rows-body tr")).to_have_count(len(wanted))
    labelled.page.locator("#filter-label").select_option("negative")
    wanted = [at for at in wanted if expected[at]["label"] == "negative"]
    assert labelled.column("#") == [str(at + 1) for at in wanted]
    assert len(labelled.downloaded()) == 1 + len(wanted)


def test_means_by_a_column_are_those_that_python_computes(labelled, expected):
    page = labelled.page
    assert page.locator("#means-column option").all_inner_texts() == ["stars", "product"]
    for column, name in ((0, "stars"), (1, "product")):
        page.locator("#means-column").select_option(label=name)
        values = defaultdict(list)
        for row, prediction in zip(ROWS, expected, strict=True):
            values[row[column]].append(prediction)
        shown = page.locator("#means-body tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        assert [cells[0] for cells in shown] == sorted(values)
        for value, _, mean, rows, positive in shown:
            group = values[value]
            chances = [prediction["positive_probability"] for prediction in group]
            assert float(mean.strip("<>%")) == pytest.approx(100 * sum(chances) / len(group), abs=0.11)
            assert int(rows) == len(group)
            labels = [prediction["label"] for prediction in group]
            assert float(positive.strip("%")) == pytest.approx(
                100 * labels.count("positive") / len(group), abs=0.51
            )


def test_download_holds_all_columns_and_answers(labelled, expected):
    head, *rows = labelled.downloaded()
    assert head[:5] == ["stars", "product", "review", "label", "probability"]
    assert [row[:3] for row in rows] == ROWS
    assert [row[3] for row in rows] == [prediction["label"] for prediction in expected]
    assert [float(row[4]) for row in rows] == pytest.approx(
        [prediction["probability"] for prediction in expected], abs=1e-5
    )


def test_downloaded_cells_run_as_no_formula(kept):
    rows = [["note", "text"], ["=1+1", "+good"], ["-3.5", "@bad"], ["fine", "  =HYPERLINK(1)"]]
    kept.choose_text("formulas.csv", as_csv(rows))
    kept.wait_for_labels(3)
    cells = [row[:2] for row in kept.downloaded()[1:]]
    assert cells == [["'=1+1", "'+good"], ["-3.5", "'@bad"], ["fine", "'  =HYPERLINK(1)"]]


def test_a_row_opens_to_its_coloured_words(labelled):
    labelled.page.locator("#rows-body tr").nth(3).locator("td.text").click()
    detail = labelled.page.locator("#rows-body .detail")
    expect(detail.locator(".coloured")).to_have_text(ROWS[3][2])
    assert detail.locator(".word").count() > 3
    expect(labelled.page.get_by_role("button", name="Row 4: show its words")).to_have_attribute(
        "aria-expanded", "true"
    )


def test_hostile_cells_and_names_are_shown_as_text(kept):
    bad = "<img src=x onerror=\"document.title = 'taken'\">"
    kept.choose_text(f"{bad}.csv".replace("/", ""), as_csv([[bad, "text"], *[[bad, f"{bad} good"]] * 4]))
    kept.wait_for_labels(4)
    assert kept.column(bad) == [bad] * 4
    assert kept.page.locator("main img").count() == 0
    assert "taken" not in kept.page.title()


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.txt", "good line\r\n\r\nbad line\r\n", ["good line", "bad line"]),
        ("a.ft.txt", "__label__2 good fast\n__label__1 bad fast\n", ["good fast", "bad fast"]),
        ("a.tsv", 'id\treview\n1\tsay "good" now\n2\t"bad\n', ['say "good" now', '"bad']),
        ("a.csv", 'id;comment\n1;"good; one"\n2;bad one\n', ["good; one", "bad one"]),
        (
            "a.csv",
            '"2","Good","very good book"\n"1","Bad","a very bad book"\n',
            ["Good: very good book", "Bad: a very bad book"],
        ),
        ("a.jsonl", '{"text": "good one", "n": 1}\n\n{"n": 2, "text": "bad one"}\n', ["good one", "bad one"]),
        ("a.csv", "text,n\ngood caf\u00e9,1\nbad one,2\n".encode("cp1252"), ["good caf\u00e9", "bad one"]),
        ("a.csv", "text,n\ngood wide,1\nbad one,2\n".encode("utf-16"), ["good wide", "bad one"]),
    ],
    ids=["lines", "fasttext", "tabs", "semicolons", "no-names", "json-lines", "windows", "utf-16"],
)
def test_files_of_every_kind(kept, name, content, texts):
    kept.choose_text(name, content)
    expect(kept.page.locator("#rows-body .text").first).to_have_text(texts[0])
    kept.wait_for_labels(2)
    assert kept.column("Text") == texts


def test_the_column_of_reviews_can_be_chosen(labelled, address):
    labelled.page.get_by_label("Reviews are in").select_option(label="product")
    expect(labelled.page.locator("#rows-body .text").first).to_have_text("kind 0")
    labelled.wait_for_labels(60)
    (first,) = ask(address, ["kind 0"])
    assert labelled.column("Label")[0] == first["label"]


def test_a_pasted_table_is_recognised_and_can_be_read_otherwise(kept):
    kept.clear()
    kept.write('stars,text\n5,"good, really"\n1,bad one\n')
    kept.wait_for_labels(2)
    assert kept.column("Text") == ["good, really", "bad one"]
    kept.page.get_by_label("3 reviews, one a line").check()
    kept.wait_for_labels(3)
    assert kept.column("Text")[0] == "stars,text"


def test_a_dropped_file_is_taken(driver):
    driver.page.evaluate("""() => {
        const transfer = new DataTransfer();
        transfer.items.add(new File(["good one\\nbad one\\nawful one"], "dropped.txt"));
        const how = { dataTransfer: transfer, bubbles: true, cancelable: true };
        for (const type of ["dragenter", "dragover", "drop"]) {
            document.body.dispatchEvent(new DragEvent(type, how));
        }
    }""")
    driver.wait_for_labels(3)
    expect(driver.page.locator("#chosen-name")).to_have_text("dropped.txt")
    driver.page.get_by_role("button", name="Remove the file").click()
    expect(driver.page.locator("#many")).to_be_hidden()
    expect(driver.page.locator("#text")).to_be_focused()


def test_rows_that_cannot_be_labelled_say_why_and_spoil_no_other(kept):
    limit = kept.page.evaluate("fetch('v1/model').then(r => r.json()).then(m => m.limits.characters)")
    kept.choose_text(
        "long.csv", as_csv([["n", "text"], [1, "good one"], [2, "x" * (limit + 1)], [3, " "], [4, "bad"]])
    )
    expect(kept.page.locator("#many-summary")).to_contain_text("2 not labelled")
    labels = kept.column("Label")
    assert labels[0] in ("positive", "negative")
    assert f"the server takes at most {limit:,}" in labels[1]
    assert "No text" in labels[2]
    assert labels[3] in ("positive", "negative")
    assert not kept.page.locator("#go-on").is_visible()  # trying again would not help


@pytest.mark.slow
def test_ten_thousand_rows_with_progress_stop_and_going_on(driver):
    rows = [[at % 7, f"It is {WORDS[at % 8]} and {WORDS[at % 5]} in number {at}"] for at in range(10_000)]
    driver.choose_text("many.csv", as_csv([["group", "text"], *rows]))
    driver.page.get_by_role("button", name="Stop").click()
    expect(driver.page.locator("#many-summary")).to_contain_text("to go")
    assert driver.page.locator("#rows-body tr").count() == 25
    driver.page.get_by_role("button", name="Go on").click()
    driver.wait_for_labels(10_000, seconds=120)
    assert len(driver.downloaded()) == 10_001
    assert driver.page.locator("#means-body tr").count() == 7


def test_a_title_goes_before_its_text_as_in_preparation(kept, address):
    kept.choose_text(
        "titled.csv", as_csv([["title", "text"], ["Good", "and bad"], ["", "bad"], ["Awful", ""]])
    )
    kept.wait_for_labels(3)
    assert kept.column("Text") == ["Good: and bad", "bad", "Awful"]
    kept.page.get_by_label("with the title from").select_option(label="no column")
    expect(kept.page.locator("#many-summary")).to_contain_text("1 not labelled")
    assert kept.column("Text") == ["and bad", "bad", ""]
