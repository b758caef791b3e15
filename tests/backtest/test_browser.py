"""The backtest's page in a real browser: no complaint, nothing asked for, nothing wider than the screen."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report.chromium import FOUND, Chromium

pytestmark = [
    pytest.mark.skipif(FOUND is None, reason="no Chromium on the PATH (Debian: the package chromium)"),
    pytest.mark.xdist_group("chromium"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, html: str) -> Path:
    path = tmp_path_factory.mktemp("backtest") / "backtest.html"
    path.write_text(html, encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_loads_without_a_complaint_and_asks_for_nothing(
    browser: Chromium, file: Path, scheme: str, width: int
) -> None:
    tab = browser.open(file, scheme, width)
    assert tab.complaints == []
    assert [url for url in tab.asked_for if not url.startswith("data:")] == [file.as_uri()]
    assert tab.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 400])
def test_one_variant_of_each_chart_is_shown(browser: Chromium, file: Path, width: int) -> None:
    tab = browser.open(file, width=width)
    shown = tab.value(
        "[...document.querySelectorAll('svg.chart')].filter(c => c.checkVisibility()).map(c => c.classList[1])"
    )
    assert shown == ["wide" if width > 720 else "narrow"] * 4


def test_the_scenarios_are_told_by_their_names_and_rules(browser: Chromium, file: Path) -> None:
    said = browser.open(file).value("document.body.innerText")
    assert "a <b>&" in said
    assert "peer" in said


def test_the_chart_reads_out_the_numbers_under_the_pointer(browser: Chromium, file: Path) -> None:
    tab = browser.open(file)
    x, y = tab.middle_of(".plot svg.wide")
    tab.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert any(char.isdigit() for char in tab.value("document.querySelector('.readout').textContent"))
