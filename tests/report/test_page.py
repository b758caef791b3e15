"""The page: everything of the document is on it, whoever looks at it can use it, and nobody's text is markup."""

import base64
import hashlib
import re
from itertools import pairwise
from typing import Any

import pytest

from lowtide.report.page import overview, page, span, usd
from tests.report.build import at, document, instance, interruption, job, pool, shortage
from tests.report.parsed import Parsed


def shown(**changes: Any) -> Parsed:
    return Parsed(page(document(**changes)))


# --- what is on it ----------------------------------------------------------------------------------------------------


def test_the_heading_names_stack_region_and_period() -> None:
    found = shown()
    (heading,) = found.all("h1")
    assert heading.text.split() == ["Lowtide", "in", "us-west-2"]
    assert "2026-01-05 08:00:00 to 2026-01-05 10:00:00, all times in UTC" in found.elements[0].text


def test_a_job_has_its_state_counts_times_and_costs_with_units() -> None:
    rows = shown(jobs=[job("train-1", reason="exit 3", state="failed")]).rows("jobs-t")
    assert rows == [
        [
            *("train-1", "cpu", "✕ failed", "08:10:00", "45 min", "25 min", "2", "1"),
            *("$0.0125", "$0.0417", "exit 3"),
        ]
    ]


def test_where_no_job_has_a_cost_there_is_no_column_for_it_and_the_page_says_so() -> None:
    found = shown(jobs=[job(cost_usd=None, on_demand_cost_usd=None)])
    assert found.rows("jobs-t")[0] == [*("train-1", "cpu", "✓ succeeded", "08:10:00", "45 min", "25 min", "2", "1"), ""]
    assert "No job of this period has a cost of its own." in found.elements[0].text


def test_the_cost_of_one_job_that_has_none_is_a_dash() -> None:
    rows = shown(jobs=[job(), job("new", cost_usd=None, on_demand_cost_usd=None)]).rows("jobs-t")
    assert rows[1][8:10] == ["–", "–"]


def test_a_shortage_has_code_message_and_remedy() -> None:
    (row,) = shown().rows("shortages-t")
    assert row[:6] == ["08:20:00", "08:50:00", "30 min", "cpu", "price SpotMaxPriceTooLow", "2"]
    assert row[6] == "The cheapest offering is $0.41. To do: Raise spot_max_price."


def test_a_shortage_that_has_not_ended_goes_on() -> None:
    found = shown(pools=[pool(shortages=[shortage(until=None)])])
    assert found.rows("shortages-t")[0][1] == "goes on"


def test_an_instance_has_its_offering_times_limit_cost_and_end() -> None:
    (row,) = shown(instances=[instance()]).rows("instances-t")
    assert row == [
        *("i-1", "cpu", "spot", "c7i.large us-west-2a", "08:50:00", "1 min 35 s", "22 min"),
        *("$0.0500", "$0.0110", "taken back by EC2, with notice"),
    ]


def test_dates_are_written_where_the_period_is_longer_than_a_day() -> None:
    found = shown(since="2026-01-04T10:00:00.000000Z")
    assert found.rows("jobs-t")[0][3] == "2026-01-05 08:10:00"


def test_the_same_numbers_stand_in_a_table_below_the_chart() -> None:
    rows = shown().rows("pool-1-t")
    assert rows[0] == [
        *("08:10:00", "2", "0", "0", "0", "0", "2", "2", "0"),
        *("$0.41", "$0.0500", "c7i.large in us-west-2a"),
    ]
    assert len(rows) == 4


def test_interruptions_are_marks_with_words_and_rows_of_a_table() -> None:
    found = shown(pools=[pool(interruptions=[interruption(noticed=False, jobs=2)])])
    marks = [e for e in found.all("g") if e.attributes["class"] == "interruption"]
    assert len(marks) == 2, "one in the wide and one in the narrow chart"
    assert marks[0].text.startswith("09:10:00 UTC: i-1, c7i.large in us-west-2a, taken back without notice; 2 attempts")
    assert found.rows("pool-1-i") == [["09:10:00", "i-1", "c7i.large in us-west-2a", "without notice", "2"]]


def test_a_bar_stands_where_its_shortage_does() -> None:
    bar = next(e for e in shown().all("rect") if e.attributes.get("class") == "bar")
    chart = bar.parent
    assert chart
    left, right = float(chart.attributes["data-left"]), float(chart.attributes["data-right"])
    assert float(bar.attributes["x"]) == pytest.approx(left + (right - left) * 20 / 120, abs=0.1)
    assert float(bar.attributes["width"]) == pytest.approx((right - left) * 30 / 120, abs=0.2)


def test_the_overview_counts() -> None:
    text = " ".join(shown().by_id("overview").text.split())
    assert "Jobs succeeded 2 of 3 1 failed" in text
    assert "Taken back by EC2 1 instance 3 attempts interrupted; 2 jobs succeeded all the same" in text
    assert "Waiting for a first start 45 min median 45 min at most" in text
    assert "Longest shortage 30 min price, of 1 shortage" in text
    assert "Spent on instances $0.0240 $0.0840 on demand: 71% saved" in text


def test_the_headline_is_no_bound_that_the_owner_set() -> None:
    both = [shortage(), shortage(**{"class": "limit", "code": "MaxInstancesReached", "seconds": 7200.0})]
    text = " ".join(shown(pools=[pool(shortages=both)]).by_id("overview").text.split())
    assert "Longest shortage 30 min price, of 1 shortage" in text


def test_where_more_jobs_were_than_are_shown_the_page_says_of_which_pool() -> None:
    assert "Only the last jobs of cpu are shown" in shown(pools_with_more_jobs=["cpu"]).elements[0].text


def test_where_there_is_nothing_the_page_says_so_and_draws_nothing() -> None:
    found = shown(pools=[], jobs=[], instances=[], cost=None)
    text = found.elements[0].text
    for sentence in (
        "No pools yet: lowtide pools apply FILE makes the first.",
        "No cost is shown: nothing ran in this period, or no price of what ran is known.",
        "No shortages in this period: everything wanted came.",
        "No jobs in this period.",
        "No instances in this period.",
    ):
        assert sentence in text
    assert not found.all("table")
    assert not [e for e in found.all("svg") if e.attributes.get("role") == "img"]


def test_a_pool_without_decisions_says_so() -> None:
    found = shown(pools=[pool(timeline=[], shortages=[], interruptions=[])])
    assert "No decision about this pool is kept" in found.by_id("pool-1").text


def test_a_pool_without_prices_has_no_price_chart() -> None:
    plain = pool()
    plain["timeline"] = [{**p, "spot_price_usd": None, "price_limit_usd": None} for p in plain["timeline"]]
    assert "Spot price, USD an hour" not in page(document(pools=[plain]))
    assert "Spot price, USD an hour" in page(document())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (0.42, "0.4 s"),
        (45.4, "45 s"),
        (59.7, "1 min"),
        (252, "4 min 12 s"),
        (3605, "1 h"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, said: str) -> None:
    assert span(seconds) == said


@pytest.mark.parametrize(
    ("dollars", "said"), [(0, "$0.00"), (0.0416, "$0.0416"), (12.305, "$12.30"), (1234.5, "$1,234.50")]
)
def test_money_below_ten_cents_is_as_fine_as_aws_prices(dollars: float, said: str) -> None:
    assert usd(dollars) == said


# --- who can use it ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found() -> Parsed:
    return shown(pools=[pool("cpu"), pool("gpu")])


def test_headings_are_in_order(found: Parsed) -> None:
    levels = [int(e.tag[1]) for e in found.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_table_has_a_caption_and_every_header_a_scope(found: Parsed) -> None:
    tables = found.all("table")
    assert len(tables) >= 8
    assert all(table.children[0].tag == "caption" and table.children[0].text.strip() for table in tables)
    assert {e.attributes.get("scope") for e in found.all("th")} == {"col", "row"}


def test_every_row_has_a_cell_for_every_column(found: Parsed) -> None:
    for table in found.all("table"):
        head, body = (next(e for e in table.children if e.tag == tag) for tag in ("thead", "tbody"))
        assert {len(row.children) for row in body.children} == {len(head.children[0].children)}


def test_every_chart_has_a_title_a_description_and_its_numbers_as_a_table(found: Parsed) -> None:
    charts = [e for e in found.all("svg") if e.attributes.get("role") == "img"]
    assert len(charts) == 6
    for chart in charts:
        title, description = chart.children[:2]
        assert (title.tag, description.tag) == ("title", "desc")
        assert title.text
        assert description.text
        named = f"{title.attributes['id']} {description.attributes['id']}"
        assert chart.attributes["aria-labelledby"] == named
        assert chart.parent
        table = found.by_id(chart.parent.attributes["data-points"])
        assert "details" in table.inside


def test_every_other_drawing_is_hidden_from_readers(found: Parsed) -> None:
    others = [e for e in found.all("svg") if e.attributes.get("role") != "img"]
    assert {e.attributes.get("aria-hidden") for e in others} == {"true"}


def test_every_id_is_there_once_and_every_reference_leads_to_one(found: Parsed) -> None:
    ids = [e.attributes["id"] for e in found.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in found.elements:
        for name in ("aria-labelledby", "for", "data-points", "data-table"):
            assert set(element.attributes.get(name, "").split()) <= set(ids)
        if (target := element.attributes.get("href", "")).startswith("#"):
            assert target[1:] in ids


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(found: Parsed) -> None:
    boxes = [e for e in found.elements if "scroll" in e.attributes.get("class", "").split()]
    assert boxes
    assert all(e.attributes["tabindex"] == "0" and e.attributes["role"] == "region" for e in boxes)
    assert all("aria-labelledby" in e.attributes for e in boxes)


def _tokens() -> dict[str, tuple[str, str]]:
    style = Parsed(page(document())).all("style")[0].text
    pairs = re.findall(r"--([a-z-]+): light-dark\((#\w{6}), (#\w{6})\)", style)
    return {name: (light, dark) for name, light, dark in pairs}


def _contrast(one: str, other: str) -> float:
    """WCAG 2: (L1 + 0.05) / (L2 + 0.05)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["ground", "card", "sunk"])
@pytest.mark.parametrize("text", ["ink", "soft", "link", "bad", "good", "wait"])
def test_text_has_the_contrast_of_aa(text: str, ground: str, scheme: int) -> None:
    tokens = _tokens()
    assert _contrast(tokens[text][scheme], tokens[ground][scheme]) >= 4.5


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("line", ["spot", "demand", "launching", "bad", "ink", "focus"])
def test_lines_of_charts_and_the_focus_have_the_contrast_of_aa(line: str, scheme: int) -> None:
    tokens = _tokens()
    assert _contrast(tokens[line][scheme], tokens["card"][scheme]) >= 3


# --- nobody's text is markup ------------------------------------------------------------------------------------------

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></svg></style></script><b>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "\u202egnp.exe\u0000",
)
_KEPT = frozenset({"at", "since", "until", "submitted_at", "launched_at", "ended_at", "state", "kind", "lifecycle"})
"""What Lowtide itself writes: instants and closed sets."""


def _made_hostile(value: Any, text: str, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _made_hostile(inner, text, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_made_hostile(inner, text, key) for inner in value]
    return text if isinstance(value, str) and key not in _KEPT else value


def _structure(html: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(e.tag, tuple(e.attributes)) for e in Parsed(html).elements]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_changes_no_element_of_the_page(text: str) -> None:
    plain, hostile = document(pools_with_more_jobs=["cpu"]), document(pools_with_more_jobs=["cpu"])
    html = page(_made_hostile(hostile, text))
    assert _structure(html) == _structure(page(_made_hostile(plain, "harmless")))
    assert "49" not in Parsed(html).by_id("jobs-t").text


def test_hostile_text_is_shown_as_it_is() -> None:
    assert shown(jobs=[job("<b>x</b>")]).rows("jobs-t")[0][0] == "<b>x</b>"


def test_the_page_asks_no_network_for_anything() -> None:
    found = shown()
    policy = next(e for e in found.all("meta") if "http-equiv" in e.attributes).attributes["content"]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    for element in found.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert element.attributes.get(name, "#").startswith(("#", "data:image/svg+xml,"))
    assert "@import" not in found.all("style")[0].text
    assert not re.findall(r"url\((?!#)", found.all("style")[0].text)


def test_the_policy_allows_exactly_the_pages_own_style_and_script() -> None:
    found = shown()
    policy = next(e for e in found.all("meta") if "http-equiv" in e.attributes).attributes["content"]
    for tag in ("style", "script"):
        (element,) = found.all(tag)
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy


def test_nothing_is_styled_or_scripted_inline_where_the_policy_would_stop_it() -> None:
    assert not [e for e in shown().elements for name in e.attributes if name == "style" or name.startswith("on")]


def test_the_page_is_no_larger_than_its_numbers_need() -> None:
    jobs = [job(f"job-{n}") for n in range(1000)]
    assert len(page(document(jobs=jobs))) < 1_000_000


def test_only_interruptions_of_the_period_are_counted_at_its_head() -> None:
    before = {"n": 1, "instance_id": "i-0", "outcome": "interrupted", "ended_at": "2026-01-05T07:59:59.000000Z"}
    within = {"n": 2, "instance_id": "i-1", "outcome": "interrupted", "ended_at": at(5)}
    runs = {"n": 3, "instance_id": "i-2", "outcome": None, "ended_at": None}
    found = overview(document(jobs=[job(state="running", interruptions=2, attempts=[before, within, runs])]))
    assert found["attempts_interrupted"] == 1
