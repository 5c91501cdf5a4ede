"""The page: well-formed, self-contained, escaped, and bounded."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ganray.errors import ReportError
from ganray.report import page as page_module
from ganray.report.charts import Charts, Mark, Series, histogram, line_chart, scatter
from ganray.report.footprints import Outline, footprint_map
from ganray.report.page import CONTENT_POLICY, Figure, Page, Section, render_page
from ganray.report.parts import Cell, Count, Counts, Facts, Folded, Note, table
from ganray.report.pictures import Missing, Strip, Strips, StripText, make_strip, whole_views

VOID = {"meta", "img", "input", "link", "br", "path"}
HOSTILE = '"><script>alert(1)</script>&amp;{{ 7 * 7 }}'
SQUARE = {"type": "Polygon", "coordinates": [[[10, 45], [11, 45], [11, 46], [10, 46], [10, 45]]]}


class Elements(HTMLParser):
    """Every element with its attributes; an end that closes another element fails."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


def test_a_number_to_sort_by_is_one_that_a_browser_reads() -> None:
    values = (1.5, -np.inf, np.inf, np.nan)
    shown = table("t", ("a",), [(Cell("", value),) for value in values])
    html = render_page(Page("k", "t", sections=(Section("s", (shown,)),)))
    found = re.findall(r'data-value="([^"]+)"', html)
    assert found == ["1.5", "-Infinity", "Infinity", "-Infinity"]


def test_a_name_that_is_not_utf_8_is_escaped() -> None:
    html = render_page(Page("k", "caf\udce9.png"))
    assert r"caf\udce9.png" in html.encode().decode()


def strip(title: str, num_states: int, side: int = 64) -> Strip:
    rng = np.random.default_rng(num_states)
    pictures = [
        (f"state {n}", rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        for n in range(num_states)
    ]
    return make_strip(
        StripText(title, (title,), (Missing("other", title),)),
        whole_views(pictures, []),
        (side, side),
        [],
        max_bytes=1 << 20,
    )


def full_page(text: str = "text") -> Page:
    """A page with every part there is, of which `text` is all that a user gave."""
    x = np.arange(50.0)
    parts = (
        Note(text, "bad"),
        Facts(((text, text),)),
        Counts(text, (Count(text, 3, "good"), Count("failed", 0, "bad"))),
        table(text, (text, "number"), [(text, Cell("1", 1.0))]),
        table(text, (text,), []),
        Folded(text, text),
        Charts(
            (
                line_chart(text, (text, text), [Series(text, x, x)], [Mark(3, text)]),
                histogram(text, text, [0, 1, 2], [1, 2], [Mark(1, text)]),
                scatter(text, (text, text), [Series(text, x, x), Series("b", x, -x)]),
            )
        ),
        footprint_map(text, [Outline(SQUARE, text)]),
        Strips(tuple(strip(text, n) for n in range(5))),
    )
    sections = tuple(Section(text, (part,), lead=text) for part in parts)
    return Page(text, text, text, text, (Figure(text, text),), sections)


def test_a_page_is_well_formed_and_its_headings_are_in_order() -> None:
    elements = Elements(render_page(full_page()))
    (root,) = elements.named("html")
    assert root["lang"] == "en"
    headings = [tag for tag, _ in elements.found if re.fullmatch("h[1-6]", tag)]
    assert headings == ["h1", *["h2"] * len(full_page().sections)]
    for landmark in ("header", "nav", "main", "footer"):
        assert len(elements.named(landmark)) == 1
    ids = [a["id"] for _, a in elements.found if "id" in a]
    assert len(set(ids)) == len(ids)


def test_every_picture_has_a_text_and_a_size() -> None:
    pictures = Elements(render_page(full_page())).named("img")
    assert len(pictures) == sum(range(5))
    for attributes in pictures:
        assert attributes["alt"] and attributes["width"] and attributes["height"]
        assert str(attributes["src"]).startswith("data:image/webp;base64,")


def test_every_drawing_says_what_it_shows() -> None:
    for attributes in Elements(render_page(full_page())).named("svg"):
        assert attributes["role"] == "img" and attributes["aria-label"]


def test_every_control_has_a_name() -> None:
    elements = Elements(render_page(full_page()))
    ranges = elements.named("input")
    assert len(ranges) == 3 and all(a["aria-label"] for a in ranges)


def test_no_address_of_a_page_leads_anywhere_else() -> None:
    html = render_page(full_page())
    elements = Elements(html)
    for _, attributes in elements.found:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert str(attributes.get(name, "#")).startswith(("data:", "#"))
    assert "://" not in re.sub(r"data:image/webp;base64,[^\"]+", "", html)
    (policy,) = [a for a in elements.named("meta") if "http-equiv" in a]
    assert policy["content"] == CONTENT_POLICY
    assert "default-src 'none'" in CONTENT_POLICY


def test_what_a_user_named_is_never_taken_for_html() -> None:
    harmless, hostile = (Elements(render_page(full_page(text))) for text in ("x", HOSTILE))
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in harmless.found]
    html = render_page(full_page(HOSTILE))
    assert (
        "{{ 7 * 7 }}" in html and "&lt;script&gt;alert(1)" in html and "<script>alert" not in html
    )


def test_a_page_beyond_its_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(render_page(full_page()).encode())
    monkeypatch.setattr(page_module, "MAX_BYTES", size)
    render_page(full_page())
    monkeypatch.setattr(page_module, "MAX_BYTES", size - 1)
    with pytest.raises(ReportError, match=rf"{size} bytes.*shown="):
        render_page(full_page())
