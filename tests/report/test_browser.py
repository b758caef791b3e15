"""The page in a real browser: it loads without a complaint, its tables sort, and both colour schemes are drawn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lowtide.report.page import page
from tests.report.build import document, instance, job
from tests.report.chromium import FOUND, Chromium, Tab
from tests.report.test_page import HOSTILE

pytestmark = [
    pytest.mark.skipif(FOUND is None, reason="no Chromium on the PATH (Debian: the package chromium)"),
    pytest.mark.xdist_group("chromium"),
]

JOBS = ("train-2", "train-10", "train-1", "train-3")
RAN = (90.0, None, 3600.0, 5.0)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    jobs = [job(name, ran_seconds=ran) for name, ran in zip(JOBS, RAN, strict=True)]
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page(document(jobs=jobs)), encoding="utf-8")
    return path


def order(tab: Tab) -> list[str]:
    return tab.value("[...document.querySelectorAll('#jobs-t tbody tr')].map(row => row.cells[0].textContent)")


def sorted_by(tab: Tab, column: int) -> str | None:
    return tab.value(f"document.querySelector('#jobs-t thead').rows[0].cells[{column - 1}].getAttribute('aria-sort')")


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_loads_without_a_complaint_and_asks_for_nothing(
    browser: Chromium, file: Path, scheme: str, width: int
) -> None:
    tab = browser.open(file, scheme, width)
    assert tab.complaints == []
    assert [url for url in tab.asked_for if not url.startswith("data:")] == [file.as_uri()]


@pytest.mark.parametrize("width", [1280, 400])
def test_one_variant_of_each_chart_is_shown_and_nothing_is_wider_than_the_screen(
    browser: Chromium, file: Path, width: int
) -> None:
    tab = browser.open(file, width=width)
    shown = tab.value(
        "[...document.querySelectorAll('svg.chart')].filter(c => c.checkVisibility()).map(c => c.classList[1])"
    )
    assert shown == ["wide" if width > 720 else "narrow"] * 2
    assert tab.value("document.documentElement.scrollWidth") <= width


def test_both_colour_schemes_are_drawn_and_the_button_changes_them(browser: Chromium, file: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = browser.open(file, "light"), browser.open(file, "dark")
    assert (light.value(ground), dark.value(ground)) == ("rgb(238, 243, 244)", "rgb(10, 19, 25)")
    light.click("#theme")
    assert light.value(ground) == "rgb(10, 19, 25)"
    assert light.value("document.querySelector('#theme').textContent") == "Light colours"
    light.value("localStorage.clear()")


def test_a_click_sorts_by_numbers_not_by_their_text_and_what_has_none_comes_last(browser: Chromium, file: Path) -> None:
    tab = browser.open(file)
    assert order(tab) == list(JOBS)
    tab.click("#jobs-t thead th:nth-child(6) button")
    assert order(tab) == ["train-3", "train-2", "train-1", "train-10"]
    assert sorted_by(tab, 6) == "ascending"
    tab.click("#jobs-t thead th:nth-child(6) button")
    assert order(tab) == ["train-1", "train-2", "train-3", "train-10"]
    assert sorted_by(tab, 6) == "descending"


def test_the_keyboard_sorts_too_and_readers_are_told(browser: Chromium, file: Path) -> None:
    tab = browser.open(file)
    tab.value("document.querySelector('#jobs-t thead th button').focus()")
    tab.press("Enter", 13, "\r")
    assert order(tab) == ["train-1", "train-2", "train-3", "train-10"]
    assert sorted_by(tab, 1) == "ascending"
    assert tab.value("document.getElementById('said').textContent") == "Sorted by job, ascending"
    tab.press("Tab", 9)
    assert tab.value("document.activeElement.textContent") == "pool"
    tab.press(" ", 32, " ")
    assert sorted_by(tab, 2) == "ascending"
    assert sorted_by(tab, 1) is None


def test_focus_can_be_seen(browser: Chromium, file: Path) -> None:
    tab = browser.open(file)
    tab.press("Tab", 9)
    assert tab.value("document.activeElement.textContent") == "Skip to the report"
    assert tab.value("document.activeElement.getBoundingClientRect().left") >= 0
    assert tab.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_what_is_looked_for_is_left(browser: Chromium, file: Path) -> None:
    tab = browser.open(file)
    tab.value("document.getElementById('jobs-t-find').focus()")
    tab.ask("Input.insertText", text="train-1")
    assert tab.value("[...document.querySelectorAll('#jobs-t tbody tr')].filter(r => !r.hidden).length") == 2
    assert tab.value("document.querySelector('output[for=jobs-t-find]').textContent") == "2 of 4 rows"


def test_the_chart_reads_out_the_numbers_under_the_pointer(browser: Chromium, file: Path) -> None:
    tab = browser.open(file)
    x, y = tab.middle_of("#pool-1 svg.wide")
    tab.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    said = tab.value("document.querySelector('#pool-1 .readout').textContent")
    assert "wanted 2" in said
    assert "spot 1" in said


def test_hostile_text_runs_nothing(browser: Chromium, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    jobs, instances = [job(text, reason=text) for text in HOSTILE], [instance(text, end=text) for text in HOSTILE]
    path.write_text(page(document(jobs=jobs, instances=instances)), encoding="utf-8")
    tab = browser.open(path)
    assert tab.complaints == []
    assert order(tab)[0] == HOSTILE[0]
