"""A report in Chromium: sliders, the view at 1:1, both widths, both schemes, and no network."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganray.report.charts import Charts, Mark, Series, Stage, histogram, line_chart, on_stages
from ganray.report.encoding import Picture
from ganray.report.footprints import Outline, footprint_map
from ganray.report.page import Figure, Page, Section, render_page
from ganray.report.parts import Cell, Count, Counts, Facts, Folded, Note, Shares, table
from ganray.report.pictures import (
    Missing,
    Spot,
    Strip,
    Strips,
    StripText,
    make_strip,
    spot_share,
    whole_views,
)
from tests.integration.browser import Tab, find_chromium, new_tab, open_browser

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium: apt-get install chromium (make browser) to test reports in a browser",
)

WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")
LEAST_CONTRAST = 4.5
LARGE, SMALL = 0, 1
LONG = "a/very/long/key/" + "without_any_place_to_break_it_" * 5 + ".tif"

CONTRASTS = """
(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const found = channels(getComputedStyle(e).backgroundColor);
      if (found.length < 4 || found[3] > 0.5) return found;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || ["SCRIPT", "STYLE", "OPTION", "title"].includes(element.tagName)) continue;
    if (!element.getClientRects().length) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 80)]);
  }
  return found.sort((a, b) => a[0] - b[0]).slice(0, 3);
})()
"""


def checkered(height: int, width: int) -> Picture:
    """A picture of which every neighbourhood is another: the place can be read from a pixel."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x // 8 + y // 8) % 2 * 80], -1).astype(
        np.uint8
    )


def make(title: str, height: int, width: int, num_states: int = 2) -> Strip:
    """States of one size; the first is the negative of the others in its blue band."""
    after = checkered(height, width)
    before = after.copy()
    before[..., 2] = 255 - before[..., 2]
    names = ("Input", "Restored", "other", "reference")
    pictures = [(names[n], after if n else before) for n in range(num_states)]
    spots = [Spot(0.5, 0.25, *spot_share(width, height))]
    views = whole_views(pictures, spots)
    return make_strip(
        StripText(title, ("consistency 0.01",), (Missing("mask", "not kept"),)),
        views,
        (width, height),
        spots,
        max_bytes=1 << 20,
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every part, long words among them."""
    x = np.arange(200.0)
    square = {"type": "Polygon", "coordinates": [[[10, 45], [11, 45], [11, 46], [10, 45]]]}
    parts: dict[str, Any] = {
        "States": Counts("12 inputs", (Count("restored", 9, "good"), Count("failed", 3, "bad"))),
        "Pictures": Strips(
            (
                make(LONG, 1200, 1600),
                make("small", 160, 200),
                make("several", 160, 200, 4),
                make("one", 160, 200, 1),
            )
        ),
        "Charts": Charts(
            (
                on_stages(
                    line_chart(
                        "Loss",
                        ("step", "loss"),
                        [Series("a", x, x**2), Series("b", x, x)],
                        [Mark(80, "limit"), Mark(199, LONG, "12")],
                    ),
                    [Stage(LONG, 0, 120), Stage("adversarial", 120, 200)],
                ),
                histogram("Trust", "consistency", np.linspace(0, 1, 9), [5, 0, 1, 9, 3, 2, 8, 1]),
            )
        ),
        "Time": Shares("Stage", ((LONG, 0.7), ("communication", 0.3), ("none", 0.0))),
        "Map": footprint_map("Footprints", [Outline(square, LONG)]),
        "Failures": table(
            "Failures",
            ("Inputs", "Reason"),
            [
                *((Cell("9", 9.0), LONG), (Cell("–", -np.inf), "d")),
                *((Cell("10", 10.0), "b"), (Cell("1", 1.0), "c"), (Cell("", -np.inf), "e")),
            ],
        ),
        "Facts": Facts((("generator", LONG), ("ganray", "0.1"))),
        "Words": Note(LONG, "bad"),
        "Folded": Folded("Configuration", LONG * 3),
    }
    sections = tuple(Section(title, (part,), lead=LONG) for title, part in parts.items())
    figures = tuple(Figure("1,234", f"figure {n}") for n in range(8))
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_page(Page("Report", LONG, LONG, LONG, figures, sections)))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    assert CHROMIUM is not None
    with open_browser(CHROMIUM) as pipe:
        yield new_tab(pipe)


@pytest.fixture
def tab(browser: Tab, page: Path) -> Tab:
    """The page, freshly opened on a desktop."""
    browser.resize(1280)
    browser.prefer(prefers_color_scheme="light")
    browser.open(page)
    return browser


def frame(number: int) -> str:
    """Of a strip, in JavaScript."""
    return f"document.querySelectorAll('.strip')[{number}].querySelector('[data-frame]')"


def middle(tab: Tab, element: str) -> tuple[float, float, float, float]:
    """An element's middle in the window, after scrolling to it, and its width and height."""
    tab.run(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    tab.settle()
    left, top, width, height = tab.run(
        f"(({{left, top, width, height}}) => [left, top, width, height])"
        f"({element}.getBoundingClientRect())"
    )
    return left + width / 2, top + height / 2, width, height


def pixels(tab: Tab) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("RGB")).astype(int)


def beside_divider(tab: Tab, number: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """Two pixels as far left and right of a frame's divider, above its handle."""
    x, y, _, height = middle(tab, frame(number))
    shown = pixels(tab)
    row = round(y - height / 4)
    return shown[row, round(x) - offset], shown[row, round(x) + offset]


def test_the_slider_moves_by_arrow_keys(tab: Tab) -> None:
    before = tab.run(f"getComputedStyle({frame(LARGE)}.querySelector('.over')).clipPath")
    tab.run("document.querySelector('input[type=range]').focus()")
    for _ in range(20):
        tab.press("ArrowRight")
    assert tab.run("document.querySelector('input[type=range]').value") == "70"
    after = tab.run(f"getComputedStyle({frame(LARGE)}.querySelector('.over')).clipPath")
    assert before != after and "30%" in after
    x, _, width, _ = middle(tab, f"{frame(LARGE)}.querySelector('.divider')")
    left, _, whole, _ = middle(tab, frame(LARGE))
    assert x - (left - whole / 2) == pytest.approx(0.7 * whole, abs=2)
    assert width == 2


def test_the_slider_follows_the_mouse(tab: Tab) -> None:
    x, y, width, _ = middle(tab, frame(LARGE))
    tab.drag((x, y), (x - width / 8, y), (x - width / 4, y))
    assert float(tab.run("document.querySelector('input[type=range]').value")) == 25
    assert "75%" in tab.run(f"getComputedStyle({frame(LARGE)}.querySelector('.over')).clipPath")
    assert not tab.run(f"{frame(LARGE)}.classList.contains('zoomed')")


def test_left_of_the_divider_is_the_first_state_and_right_of_it_the_last(tab: Tab) -> None:
    left, right = beside_divider(tab, LARGE, 60)
    # Blue is the negative: 175 or 255 in the first state, 0 or 80 in the last.
    assert left[2] > 150 and right[2] < 110


@pytest.mark.parametrize("number", [LARGE, SMALL])
def test_one_to_one_shows_the_same_spot_in_both_states(tab: Tab, number: int) -> None:
    x, y, width, _ = middle(tab, frame(number))
    tab.drag((x + width / 8, y))
    assert tab.run(f"{frame(number)}.classList.contains('zoomed')")
    places = tab.run(
        f"[...{frame(number)}.querySelectorAll('.layer img:not([hidden])')].map((i) => "
        "(({left, top, width, height}) => [left, top, width, height])(i.getBoundingClientRect()))"
    )
    assert len(places) == 2 and places[0] == places[1]
    # One pixel of the picture to a pixel of the page: its checks are 8 pixels wide.
    shown = pixels(tab)[round(y), round(x + 30) : round(x + 62), 2] > 40
    changes = np.flatnonzero(np.diff(shown.astype(int)))
    assert (np.diff(changes) == 8).all() and len(changes) >= 3


def test_one_to_one_is_the_place_that_was_clicked(tab: Tab) -> None:
    x, y, width, height = middle(tab, frame(LARGE))
    # Inside the spot, far enough from its edges.
    seen_x, seen_y = 0.5 + 0.22, 0.25 + 0.25
    tab.drag((x + (seen_x - 0.5) * width, y + (seen_y - 0.5) * height))
    shown = pixels(tab)[round(y), round(x + 40)]
    assert shown[0] / 255 == pytest.approx(seen_x + 40 / 1600, abs=0.02)
    assert shown[1] / 255 == pytest.approx(seen_y, abs=0.02)


def test_one_to_one_is_panned_by_arrows_and_by_dragging_within_its_spot(tab: Tab) -> None:
    tab.run(f"{frame(LARGE)}.focus({{preventScroll: true}})")
    tab.press("Enter")
    image = f"{frame(LARGE)}.querySelector('.layer img.spot:not([hidden])')"
    left = f"{image}.getBoundingClientRect().left"
    begin = tab.run(left)
    tab.press("ArrowRight")
    # The spot is a little wider than the frame: not by a whole step.
    room = tab.run(f"{image}.getBoundingClientRect().width - {frame(LARGE)}.clientWidth") / 2
    assert 10 < room < 48
    assert tab.run(left) == pytest.approx(begin - room, abs=1)
    x, y, _, _ = middle(tab, frame(LARGE))
    moved = tab.run(left)
    tab.drag((x, y), (x + 6, y), (x + 12, y))
    assert tab.run(left) == pytest.approx(moved + 12, abs=1)
    for key in ("ArrowRight", "ArrowDown"):
        for _ in range(30):
            tab.press(key)
    right, bottom = tab.run(
        f"(({{right, bottom}}) => [right, bottom])({image}.getBoundingClientRect())"
    )
    x, y, width, height = middle(tab, frame(LARGE))
    assert right >= x + width / 2 - 1 and bottom >= y + height / 2 - 1
    tab.press("Escape")
    assert not tab.run(f"{frame(LARGE)}.classList.contains('zoomed')")


def test_all_states_of_a_strip_are_seen_at_one_to_one_together(tab: Tab) -> None:
    strip = "document.querySelectorAll('.strip')[2]"
    middle(tab, strip)
    tab.run(f"{strip}.querySelector('button.zoom').click()")
    tab.settle()
    centres = tab.run(
        f"[...{strip}.querySelectorAll('[data-frame]')].flatMap((f) => {{"
        " const b = f.getBoundingClientRect();"
        " return [...f.querySelectorAll('.layer img')].map((i) => {"
        "  const p = i.getBoundingClientRect();"
        "  return [b.left + b.width / 2 - p.left, b.top + b.height / 2 - p.top, p.width]; }); })"
    )
    assert len(centres) == 6
    np.testing.assert_allclose(np.array(centres), np.array(centres[:1] * 6), atol=1.5)
    assert tab.run(f"{strip}.querySelector('button.zoom').getAttribute('aria-pressed')") == "true"


def test_any_two_of_several_states_can_be_compared(tab: Tab) -> None:
    strip = "document.querySelectorAll('.strip')[2]"
    tab.run(
        f"(() => {{ const s = {strip}.querySelector('select');"
        " s.value = [...s.options].find((o) => o.text === 'other').value;"
        " s.dispatchEvent(new Event('change')); })()"
    )
    names = tab.run(
        f"[...{frame(2)}.querySelectorAll('.layer')].map("
        "(l) => [l.className, l.querySelector('img').alt])"
    )
    assert names == [["layer under", "reference: several"], ["layer over", "other: several"]]
    assert tab.run(f"{frame(2)}.querySelector('.tag.left').textContent") == "other"


def test_a_table_is_sorted_by_its_headings(tab: Tab) -> None:
    column = "[...document.querySelectorAll('tbody tr')].map((r) => r.cells[0].textContent)"
    tab.run("document.querySelector('th button').focus()")
    tab.run("document.querySelector('th button').click()")
    assert tab.run(column) == ["–", "", "1", "9", "10"]
    assert tab.run("document.querySelector('th').getAttribute('aria-sort')") == "ascending"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows_and_every_text_stands_out(tab: Tab, width: int, scheme: str) -> None:
    tab.resize(width)
    tab.prefer(prefers_color_scheme=scheme)
    tab.settle()
    assert tab.run("document.documentElement.scrollWidth") == width
    assert tab.run(
        "[...document.querySelectorAll('.strip, .chart, .facts, h1, .frame, .controls')]"
        f".filter((e) => e.getBoundingClientRect().right > {width} + 1).length"
    ) == 0  # fmt: skip
    for contrast, element in tab.run(CONTRASTS):
        assert contrast >= LEAST_CONTRAST, element


def test_the_schemes_differ_and_dark_is_dark(tab: Tab) -> None:
    light = pixels(tab)[5, 5].sum()
    tab.prefer(prefers_color_scheme="dark")
    tab.settle()
    assert light > 3 * 200 and pixels(tab)[5, 5].sum() < 3 * 60


def test_what_has_the_focus_is_outlined(tab: Tab) -> None:
    for _ in range(25):
        tab.press("Tab")
        name, style = tab.run(
            "(() => { const e = document.activeElement;"
            " return [e.tagName, getComputedStyle(e).outlineStyle]; })()"
        )
        assert name == "BODY" or style != "none", name


def test_pictures_keep_the_place_of_the_page(tab: Tab, page: Path) -> None:
    tab.ask("Page.navigate", url=page.as_uri())
    tab.run(
        "new Promise((r) => new PerformanceObserver((l) => r()).observe({type: 'paint',"
        " buffered: true}))"
    )
    shifts = tab.run(
        "new Promise((r) => { let sum = 0; new PerformanceObserver((l) => l.getEntries()"
        ".forEach((e) => { sum += e.value; })).observe({type: 'layout-shift', buffered: true});"
        " setTimeout(() => r(sum), 500); })"
    )
    assert shifts < 0.01


def test_the_page_asks_nothing_of_any_network_and_reports_no_error(tab: Tab, page: Path) -> None:
    tab.pipe.events.clear()
    tab.open(page)
    tab.run(f"{frame(LARGE)}.focus()")
    tab.press("Enter")
    asked = {event["request"]["url"] for event in tab.seen("Network.requestWillBeSent")}
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}
    assert not tab.seen("Runtime.exceptionThrown")
    assert not tab.seen("Runtime.consoleAPICalled")
    assert not tab.seen("Log.entryAdded")


def test_a_request_would_be_refused_by_the_page_itself(tab: Tab) -> None:
    """That the policy works, which the test before relies on."""
    refused = tab.run("fetch('https://example.org/').then(() => false, () => true)")
    assert refused
    said = str(tab.seen("Log.entryAdded")) + str(tab.seen("Runtime.consoleAPICalled"))
    assert "Content Security Policy" in said


def test_printed_states_stand_beside_each_other(tab: Tab) -> None:
    tab.ask("Emulation.setEmulatedMedia", media="print")
    tab.settle()
    lefts = tab.run(
        f"[...{frame(LARGE)}.querySelectorAll('.layer')].map((l) => [l.className,"
        " l.getBoundingClientRect().left, getComputedStyle(l).clipPath])"
    )
    tab.ask("Emulation.setEmulatedMedia", media="screen")
    by_name = {name.split()[-1]: (left, clip) for name, left, clip in lefts}
    assert by_name["over"][0] < by_name["under"][0]
    assert by_name["over"][1] == "none"
