"""The page in a real browser: at phone and desktop width, light and dark, by mouse and by keyboard alone.

Run by `make check-browser`: where no Chromium is installed these tests fail.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.chromium import Page, chromium
from torchhebb.explore import explore

pytestmark = pytest.mark.browser

LAYOUT = """(() => {
  const images = [...document.images], box = element => element.getBoundingClientRect();
  const drawn = [...document.querySelectorAll("#map image")];
  return {
    width: document.documentElement.scrollWidth,
    broken: images.filter(i => !i.complete || !i.naturalWidth).length,
    images: images.length,
    drawn: drawn.length,
    points: document.querySelectorAll("#map .point").length,
    outside: images.filter(i => box(i).left < 0 || box(i).right > innerWidth).length,
    small: [...document.querySelectorAll("button")].filter(b => box(b).height < 24 || box(b).width < 24).length,
  };
})()"""

CONTRAST = """(() => {
  const channels = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = colour => channels(colour).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    const colour = getComputedStyle(element).backgroundColor;
    return /, 0\\)$/.test(colour) && element.parentElement ? behind(element.parentElement) : colour;
  };
  const ratio = element => {
    const one = light(getComputedStyle(element).color), other = light(behind(element));
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  };
  return Math.min(...[...document.querySelectorAll("h1, h2, p, li, input, form button")].map(ratio));
})()"""

CHOSEN = "document.querySelector('#chosen img').alt"
RANGE = "[...document.getElementById('map').layout.xaxis.range]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def page(pictures: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explore(weights, f"folder:{pictures}", tmp_path_factory.mktemp("page") / "page.html", kind="pca")


def opened(browser: Page, page: Path, width: int = 1280, dark: bool = False) -> None:
    browser.open(page, width=width, dark=dark)
    wait_for(browser, "document.body.dataset.ready === 'yes'")
    settle(browser)


def settle(browser: Page) -> None:
    """Let plotly draw what was asked for."""
    browser.call(
        "Runtime.evaluate",
        expression="new Promise(r => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(r)), 200))",
        awaitPromise=True,
    )


def wait_for(browser: Page, condition: str, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not browser.evaluate(condition):
        assert time.monotonic() < until, f"never: {condition}"
        time.sleep(0.05)


def key(browser: Page, name: str, **parameters: Any) -> None:
    text = {"text": name} if len(name) == 1 else {"text": "\r"} if name == "Enter" else {}
    browser.call("Input.dispatchKeyEvent", type="keyDown", key=name, **text, **parameters)
    browser.call("Input.dispatchKeyEvent", type="keyUp", key=name, **parameters)
    settle(browser)


def silent(browser: Page) -> None:
    methods = {event["method"] for event in browser.events}
    assert not {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"} & methods
    asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert all(url.startswith(("file:", "data:")) for url in asked)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_legible_and_silent(browser: Page, page: Path, width: int, dark: bool):
    opened(browser, page, width, dark)
    layout = browser.evaluate(LAYOUT)
    assert layout["width"] == width, "the page scrolls sideways"
    assert (layout["broken"], layout["outside"], layout["small"]) == (0, 0, 0), layout
    assert layout["images"] >= 1 + 12 + 2 + 24 and layout["drawn"] >= 10 and layout["points"] >= 48
    assert browser.evaluate(CONTRAST) >= 4.5
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(23, 24, 26)") == dark
    silent(browser)


def test_a_click_on_a_thumbnail_of_the_map_chooses_it(browser: Page, page: Path):
    opened(browser, page)
    place = browser.evaluate("""(() => {
      const map = document.getElementById("map"), data = JSON.parse(document.getElementById("data").textContent);
      const axis = map._fullLayout, box = map.getBoundingClientRect();
      const far = data.x.map((x, i) => [x * x + data.y[i] ** 2, i]).sort((a, b) => b[0] - a[0])[0][1];
      const right = axis._size.l + axis.xaxis.c2p(data.x[far]), down = axis._size.t + axis.yaxis.c2p(data.y[far]);
      return [box.left + right, box.top + down,
              data.files[far].split("/").pop()];
    })()""")
    x, y, wanted = place
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)
        settle(browser)
    wait_for(browser, f"{CHOSEN} === {wanted!r}")
    assert browser.evaluate("document.querySelectorAll('#near button').length") == 12
    silent(browser)


def test_the_wheel_zooms_and_a_drag_pans(browser: Page, page: Path):
    opened(browser, page)
    box = browser.evaluate("(b => [b.left + b.width / 2, b.top + b.height / 2])(map.getBoundingClientRect())")
    before = browser.evaluate(RANGE)
    browser.call("Input.dispatchMouseEvent", type="mouseWheel", x=box[0], y=box[1], deltaX=0, deltaY=-300)
    wait_for(browser, f"({RANGE})[1] - ({RANGE})[0] < {before[1] - before[0] - 1e-6}")
    settle(browser)
    zoomed = browser.evaluate(RANGE)
    for kind, dx in (("mousePressed", 0), ("mouseMoved", 60), ("mouseMoved", 120), ("mouseReleased", 120)):
        browser.call("Input.dispatchMouseEvent", type=kind, x=box[0] + dx, y=box[1], button="left", clickCount=1)
    wait_for(browser, f"({RANGE})[0] < {zoomed[0] - 1e-6}")
    settle(browser)
    assert browser.evaluate(LAYOUT)["drawn"] >= 1
    silent(browser)


def test_the_keyboard_is_enough(browser: Page, page: Path):
    opened(browser, page)
    for _ in range(20):  # by Tab alone to the map, past the search
        if browser.evaluate("document.activeElement.id") == "map":
            break
        key(browser, "Tab", windowsVirtualKeyCode=9)
    assert browser.evaluate("document.activeElement.id") == "map"
    whole = browser.evaluate(RANGE)
    key(browser, "+")
    closer = browser.evaluate(RANGE)
    assert closer[1] - closer[0] < whole[1] - whole[0]
    key(browser, "ArrowRight", windowsVirtualKeyCode=39)
    assert browser.evaluate(RANGE)[0] > closer[0]
    key(browser, "Enter", windowsVirtualKeyCode=13)
    chosen = browser.evaluate(CHOSEN)
    nearest = browser.evaluate("document.querySelector('#near button').title")
    key(browser, "0")
    assert browser.evaluate(RANGE) == pytest.approx(whole)
    for _ in range(40):
        if browser.evaluate("document.activeElement.closest('#near') !== null"):
            break
        key(browser, "Tab", windowsVirtualKeyCode=9)
    key(browser, "Enter", windowsVirtualKeyCode=13)
    assert browser.evaluate(CHOSEN) == nearest != chosen
    silent(browser)


def test_a_file_is_found_by_a_part_of_its_name(browser: Page, page: Path):
    opened(browser, page)
    browser.evaluate("document.getElementById('query').value = 'BLACK'")
    browser.evaluate("document.querySelector('#find button').click()")
    wait_for(browser, f"{CHOSEN} === 'black.png'")
    silent(browser)
