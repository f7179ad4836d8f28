"""The page in a real browser: legible at phone and desktop width, light and dark, and silent.

Run by `make check-browser`: where no Chromium is installed these tests fail.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report.chromium import Page, chromium
from torchhebb.data import Store
from torchhebb.report import write_report

pytestmark = pytest.mark.browser

LAYOUT = """(() => {
  document.querySelectorAll("details").forEach(details => details.open = true);
  const box = element => element.getBoundingClientRect();
  const figures = [...document.querySelectorAll("figure > svg, figure > img")];
  const texts = [...document.querySelectorAll("figure svg text")].map(text => box(text).height);
  return {
    width: document.documentElement.scrollWidth,
    figures: figures.length,
    small: figures.filter(f => box(f).width < 24 || box(f).height < 24).length,
    outside: figures.filter(f => box(f).left < 0 || box(f).right > innerWidth).length,
    broken: [...document.images].filter(image => !image.complete || !image.naturalWidth).length,
    text: Math.min(...texts),
  };
})()"""

# The least contrast (WCAG) with the paper of everything that carries text.
CONTRAST = """(() => {
  const channels = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = colour => channels(colour).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const ratio = colour => (Math.max(light(colour), paper) + 0.05) / (Math.min(light(colour), paper) + 0.05);
  const html = [...document.querySelectorAll("h1, h3, p, td, th, figcaption")].map(e => getComputedStyle(e).color);
  const drawn = [...document.querySelectorAll("svg text")].map(e => getComputedStyle(e).fill);
  return Math.min(...[...html, ...drawn].filter(c => c !== "rgb(255, 255, 255)").map(ratio));
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module", params=[1, 2], ids=["one run", "two runs"])
def report(
    request: pytest.FixtureRequest, tiny_run: Path, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, int]:
    out = tmp_path_factory.mktemp("page") / "report.html"
    return write_report([tiny_run] * request.param, out, store=store), request.param


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_reads_well(browser: Page, report: tuple[Path, int], width: int, dark: bool) -> None:
    path, runs = report
    browser.open(path, width=width, dark=dark)
    layout = browser.evaluate(LAYOUT)
    assert layout["width"] == width, "the page scrolls sideways"
    assert layout["figures"] == 17 * runs
    assert (layout["small"], layout["outside"], layout["broken"]) == (0, 0, 0), layout
    assert layout["text"] >= 9, "text in a figure is too small to read"
    assert browser.evaluate(CONTRAST) >= 4.5
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(23, 24, 26)") == dark

    methods = [event["method"] for event in browser.events]
    assert not {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"} & set(methods)
    asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert all(url.startswith(("file:", "data:")) for url in asked) and asked[0] == path.resolve().as_uri()
