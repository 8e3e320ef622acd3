"""A page shown in a notebook is kept in the notebook, as it is, and cannot run scripts there."""

from html.parser import HTMLParser

from sentiscale.report.page import PageFrame

PAGE = """<!doctype html><title>A & B</title><p class="x" title='"quoted"'>5 < 6 — ä</p>"""


class Frame(HTMLParser):
    """The attributes of the one frame."""

    found: dict[str, str | None]

    def handle_starttag(self, tag, attrs):
        assert tag == "iframe", "the page's own tags must not reach the notebook"
        self.found = dict(attrs)


def test_page_is_kept_whole_inside_the_notebook(tmp_path):
    page = tmp_path / 'a "page".html'
    page.write_text(PAGE, encoding="utf-8")
    frame = Frame()
    frame.feed(PageFrame(page, height=300)._repr_html_())
    assert frame.found["srcdoc"] == PAGE
    assert frame.found["title"] == 'a "page".html'
    assert frame.found["sandbox"] is None, "nothing is allowed: no scripts, no forms, no top navigation"
    assert "height: 300px" in str(frame.found["style"])
