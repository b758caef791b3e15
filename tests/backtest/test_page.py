"""The backtest's page: one file, readable without its script, nothing of a user's that is not escaped."""

import re

from tests.report.parsed import Parsed


def test_what_users_name_is_escaped(html: str) -> None:
    assert "a &lt;b&gt;&amp;" in html
    assert "<script>x" not in html


def test_the_page_needs_nothing_beside_itself(html: str) -> None:
    elements = Parsed(html).elements
    assert not [e for e in elements if "src" in e.attributes]
    assert all(e.attributes["href"].startswith(("#", "data:")) for e in elements if "href" in e.attributes)
    assert not [e for e in elements if "style" in e.attributes or any(name.startswith("on") for name in e.attributes)]
    assert "default-src &#39;none&#39;" in html


def test_every_chart_has_a_name_a_description_and_its_numbers_as_a_table(html: str) -> None:
    elements = Parsed(html).elements
    ids = {e.attributes["id"] for e in elements if "id" in e.attributes}
    charts = [e for e in elements if e.tag == "svg" and e.attributes.get("role") == "img"]
    assert len(charts) == 8, "four, for a wide and a narrow screen"
    for chart in charts:
        assert set(chart.attributes["aria-labelledby"].split()) <= ids
    for plot in [e for e in elements if e.attributes.get("class") == "plot"]:
        assert plot.attributes["data-points"] in ids


def test_ids_are_used_once_and_links_within_the_page_lead_somewhere(html: str) -> None:
    elements = Parsed(html).elements
    ids = [e.attributes["id"] for e in elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for link in (e.attributes["href"] for e in elements if e.tag == "a"):
        assert link[1:] in ids


def test_both_colour_schemes_have_every_colour_that_lines_use(html: str) -> None:
    used = set(re.findall(r"\.line-\d \{ stroke: var\((--[a-z]+)\)", html))
    assert len(used) == 6
    assert all(re.search(rf"{name}: light-dark\(", html) for name in used)


def test_reasons_are_told_for_each_scenario(html: str) -> None:
    assert "capacity" in html
    assert "EC2 had no capacity" in html
