"""What a person does with the page, in one word each; and what the server says to the same texts."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from playwright.sync_api import Locator, Page, expect


@dataclass
class Driver:
    """A page and the hands on it."""

    page: Page
    allowed: list[str]
    """Parts of messages on the console that the test provokes, such as "status of 429"."""

    def write(self, text: str) -> None:
        self.page.locator("#text").fill(text)

    def choose_text(self, name: str, text: str | bytes) -> None:
        self.clear()
        content = text if isinstance(text, bytes) else text.encode()
        self.page.locator("#file").set_input_files({"name": name, "mimeType": "", "buffer": content})

    def wait_for_labels(self, rows: int, seconds: int = 120) -> None:
        """Wait until every row of the table is settled."""
        expect(self.page.locator("#many")).to_be_visible()
        summary = self.page.locator("#many-summary")
        settled = re.compile(rf"^{rows:,} reviews?: [\d,]+ positive, [\d,]+ negative\.$")
        expect(summary).to_have_text(settled, timeout=1000 * seconds)

    def clear(self) -> None:
        """Take away what is there, be it typed or a file."""
        for button in self.page.locator("#clear, #remove").all():
            if button.is_visible() and button.is_enabled():
                button.click()

    def wait_for_words(self, expected: str | None = None) -> Locator:
        """Wait for the coloured text of a single review."""
        text = self.page.locator("#one .coloured")
        expect(text).to_be_visible()
        if expected is not None:
            expect(text).to_have_text(expected)
        expect(self.page.locator("#one")).not_to_have_attribute("aria-busy", "true")
        return text

    def column(self, name: str) -> list[str]:
        """The cells of a column on the page of the table that is shown."""
        heads = [text.strip() for text in self.page.locator("#rows-head th").all_inner_texts()]
        at = heads.index(name)
        script = "(rows, at) => rows.map(row => row.cells[at].textContent)"
        return self.page.locator("#rows-body tr:not(.detail)").evaluate_all(script, at)

    def sort(self, name: str) -> None:
        self.page.locator("#rows-head").get_by_role("button", name=name, exact=True).click()

    def downloaded(self) -> list[list[str]]:
        with self.page.expect_download() as started:
            self.page.locator("#download").click()
        text = Path(started.value.path()).read_bytes().decode("utf-8-sig")
        return list(csv.reader(io.StringIO(text, newline="")))

    def call(self, module: str, function: str, *values: Any) -> Any:
        """A function of one of the page's own modules."""
        script = """async ([module, name, values]) =>
            (await import(new URL(`static/${module}`, location.href)))[name](...values)"""
        return self.page.evaluate(script, [module, function, list(values)])


def ask(address: str, texts: Sequence[str], **more: Any) -> list[dict[str, Any]]:
    """What the server answers to the same texts without the page."""
    body = json.dumps({"texts": list(texts), **more}).encode()
    request = Request(f"{address}v1/predict", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)["predictions"]


def as_csv(records: Sequence[Sequence[object]], **how: Any) -> str:
    """Records as CSV text, as Python's own writer has it."""
    out = io.StringIO(newline="")
    csv.writer(out, **how).writerows(records)
    return out.getvalue()
