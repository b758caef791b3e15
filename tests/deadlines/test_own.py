"""Lowtide's own policy: what it believes, what its tables say, and that both are what they are said to be."""

import time
from base64 import b64decode
from zlib import decompress

import pytest

from lambdas.domain.deadlines import models, tables, zone_tables
from lambdas.domain.deadlines.advice import LEVELS, LIMIT, Advice, Question, encoded, states
from lambdas.domain.deadlines.belief import Belief, pace
from lambdas.domain.deadlines.game import IDLE, ON_DEMAND, Situation, Terms
from lambdas.domain.deadlines.market import Market
from lambdas.domain.deadlines.own import lowtide
from lowtide.deadlines.play import play
from lowtide.deadlines.tables import differences
from tests.deadlines.build import run

TERMS = Terms(gap_s=300, work_s=6 * 3600, deadline_s=10 * 3600, restart_s=360, on_demand_price=3.0)
LAST = models.TICKS[-1]
"""The tick whose tables are the smallest."""


def believed(seen: str, gap_hours: float = 0.1) -> Belief:
    belief = Belief(gap_hours=gap_hours)
    belief.see_all(tick == "1" for tick in seen)
    return belief


def paces(*beliefs: Belief) -> tuple[float, float]:
    """Up, down."""
    return pace(beliefs, True), pace(beliefs, False)


PACKED = {1: tables.PACKED, models.SEVERAL: zone_tables.PACKED}


def table(zones: int, ratio: float) -> bytes:
    return decompress(b64decode(PACKED[zones][ratio]))


@pytest.mark.parametrize("zones", PACKED)
@pytest.mark.parametrize("ratio", models.PRICE_RATIOS)
def test_the_tables_are_what_the_induction_gives(zones: int, ratio: float) -> None:
    """To one level in a thousandth of the places: another machine may round a last bit otherwise."""
    made = bytes(map(encoded, differences(LAST, models.RESTARTS[-1], ratio, zones).ravel().tolist()))
    kept = table(zones, ratio)[-len(made) :]
    apart = [abs(one - other) for one, other in zip(made, kept, strict=True)]
    assert max(apart) <= 1
    assert sum(apart) <= len(made) / 1000


@pytest.mark.parametrize("zones", PACKED)
def test_the_tables_have_a_byte_for_every_question_and_model_at_every_state(zones: int) -> None:
    each = len(models.RESTARTS) * sum(map(states, models.TICKS))
    sizes = {len(table(zones, ratio)) for ratio in PACKED[zones]}
    assert sizes == {each * len(Question) * len(models.MODELS)}
    assert set(PACKED[zones]) == set(models.PRICE_RATIOS)


@pytest.mark.parametrize("zones", PACKED)
def test_the_tables_stay_small(zones: int) -> None:
    assert sum(map(len, PACKED[zones].values())) < 265_000


def test_a_byte_is_nearest_to_what_it_stands_for_where_choices_are_close() -> None:
    assert encoded(0.0) == LEVELS
    assert encoded(-2 * LIMIT) == 0
    assert encoded(2 * LIMIT) == 2 * LEVELS
    assert encoded(0.01) > LEVELS > encoded(-0.01)


def test_what_ends_as_the_model_says_leaves_the_pace_at_one() -> None:
    assert paces(Belief(gap_hours=0.1)) == paces() == (1, 1)
    assert paces(believed("1" * 300))[0] < 0.9
    assert paces(believed("10" * 50))[0] > 1.2


def test_each_side_learns_its_own_pace_and_what_is_long_ago_fades() -> None:
    flapping = "1" * 40 + "01" * 20
    up, down = paces(believed(flapping))
    assert down > up
    assert 1 < paces(believed(flapping + "1" * 600))[1] < down


def test_zones_teach_one_pace_with_one_prior() -> None:
    lasting, flapping = believed("1" * 300), believed("10" * 50)
    assert paces(lasting)[0] < paces(lasting, flapping)[0] < paces(flapping)[0]
    assert paces(flapping, flapping)[0] > paces(flapping)[0]


def test_what_was_seen_by_the_tick_and_at_once_is_the_same() -> None:
    seen, belief = "0011101" * 9, Belief(gap_hours=0.1)
    for tick in seen:
        belief.see(tick == "1")
    whole = believed(seen)
    assert (paces(belief), belief.age_hours) == (paces(whole), whole.age_hours)


def test_told_apart_each_zone_has_its_age_and_an_outage_that_of_the_latest_to_lose_spot() -> None:
    market = Market({"a": "0011", "b": "1110"}, gap_hours=1.0)
    market.see({"a"})
    assert market.age_hours("a") == 2.5
    market.see(())
    assert market.age_hours(None) == 0.5


def test_not_told_apart_all_zones_are_one_market() -> None:
    market = Market({"": "0011"}, gap_hours=1.0)
    market.see({"b"})
    assert (market.several, market.age_hours("b"), market.age_hours("c")) == (False, 2.5, 2.5)


def test_with_much_slack_and_spot_that_comes_and_goes_an_outage_is_waited_through() -> None:
    now = Situation(tick=0, held=IDLE, work_s=6 * 3600, overhead_s=0, spot_prices={})
    assert lowtide(TERMS, {"S": "1111110" * 40}).choose(now) == IDLE


def test_a_change_from_on_demand_to_spot_is_not_made_for_spot_that_never_lasts() -> None:
    now = Situation(tick=40, held=ON_DEMAND, work_s=4 * 3600, overhead_s=0, spot_prices={"S": 1.0})
    assert lowtide(TERMS, {"S": "10" * 200}).choose(now) != "S"
    assert lowtide(TERMS, {"S": "1" * 200}).choose(now) == "S"


def test_of_zones_at_close_prices_the_one_whose_spot_has_lasted_is_taken() -> None:
    past = {"a": "1" * 60, "b": "0" * 60}
    for price, chosen in ((0.99, "a"), (0.5, "b")):
        now = Situation(tick=0, held=IDLE, work_s=6 * 3600, overhead_s=0, spot_prices={"a": 1.0, "b": price})
        assert lowtide(TERMS, past).choose(now) == chosen


def test_spot_that_another_zone_has_only_just_got_is_waited_out_where_slack_is_plenty() -> None:
    """As one market, the two have had spot for an hour."""
    terms = Terms(gap_s=300, work_s=6 * 3600, deadline_s=14 * 3600, restart_s=1440, on_demand_price=3.0)
    now = Situation(tick=0, held=IDLE, work_s=6 * 3600, overhead_s=0, spot_prices={"b": 1.0})
    turning = "11110000" * 18
    past = {"a": turning + "1" * 12, "b": turning + "0" * 12}
    assert lowtide(terms, past).choose(now) == IDLE
    assert lowtide(terms, {"a": past["b"], "b": past["a"]}).choose(now) == "b"
    assert lowtide(terms, {"": past["a"]}).choose(now) == "b"


def test_slack_that_changes_of_zone_will_need_is_not_spent_on_an_outage() -> None:
    """Four and a half restarts of slack beside 64 of work, at the first tick without spot."""
    terms = Terms(gap_s=360, work_s=64 * 1440, deadline_s=round(69.5 * 1440), restart_s=1440, on_demand_price=3.0)
    now = Situation(tick=0, held=IDLE, work_s=terms.work_s, overhead_s=0, spot_prices={})
    assert lowtide(terms, {"a": "1" * 10}).choose(now) == IDLE
    assert lowtide(terms, {"a": "1" * 10, "b": "1" * 10}).choose(now) == ON_DEMAND


def test_spot_not_cheaper_than_on_demand_is_no_spot() -> None:
    now = Situation(tick=0, held=IDLE, work_s=6 * 3600, overhead_s=0, spot_prices={"S": 3.0})
    assert lowtide(TERMS, {"S": "1" * 50}).choose(now) != "S"


def advised(several: bool = False, /, **state: float) -> Advice:
    usual = {"pace_up": 1.0, "pace_down": 1.0, "age_hours": 0.3, "work": 20.0, "slack": 9.0, "tick": 0.25}
    return Advice(**{**usual, "restart_hours": 0.1, "price_ratio": 0.318, **state}, several=several)


def test_advice_moves_steadily_between_the_points_of_the_tables() -> None:
    for question in Question:
        said = [advised(work=work, slack=28.0).difference(question) for work in (16.0, 18.0, 20.0, 22.0, 24.0)]
        assert said in (sorted(said), sorted(said, reverse=True))


def test_the_last_tick_before_a_restart_less_fits_is_the_one_to_start_on_demand() -> None:
    """With room for two restarts on-demand can be left for spot and come back to; with less it cannot."""
    asked = Question.DOWN_IDLE_OR_START
    assert advised(work=64.0, slack=2.2, tick=0.3).difference(asked) > 0.9 * LIMIT
    assert advised(work=64.0, slack=2.4, tick=0.3).difference(asked) < 0
    assert advised(work=64.0, slack=2.2, tick=0.1).difference(asked) < 0


def test_dear_spot_is_waited_for_less_than_cheap_spot() -> None:
    asked, state = Question.DOWN_IDLE_OR_KEEP, {"work": 16.0, "slack": 8.0, "age_hours": 0.6}
    assert advised(**state, price_ratio=0.7).difference(asked) > advised(**state, price_ratio=0.2).difference(asked) > 0


def test_where_another_zone_may_take_over_on_demand_is_worth_less_beside_spot() -> None:
    states = [{"work": 64.0, "slack": slack, "age_hours": age} for slack in (1.5, 2.5, 4.5) for age in (0.0, 0.6, 3.0)]
    asked = Question.UP_ON_DEMAND_OR_IDLE
    more = [advised(True, **each).difference(asked) - advised(**each).difference(asked) for each in states]
    assert min(more) >= 0
    assert max(more) > 0.5


@pytest.mark.parametrize("end", [1e-3, 1e4])
def test_advice_holds_at_the_ends_of_the_tables(end: float) -> None:
    advice = advised(work=end, slack=end, tick=end, restart_hours=end, pace_up=end, age_hours=100.0)
    assert all(abs(advice.difference(question)) < 10 * LIMIT for question in Question)


@pytest.mark.parametrize("gap", [60, 195, 300, 600])
@pytest.mark.parametrize("restart", [0, 72, 100, 1440])
@pytest.mark.parametrize("deadline", [3 * 3600, 3 * 3600 + 1441, 5 * 3600 + 7])
def test_no_tick_restart_or_deadline_keeps_a_job_from_its_end(gap: int, restart: int, deadline: int) -> None:
    """Of a deadline of the very length of the work, on-demand is late by the restart and no more."""
    terms = Terms(gap_s=gap, work_s=3 * 3600, deadline_s=deadline, restart_s=restart, on_demand_price=3.0)
    played = play(run(("1101000" * terms.ticks)[: terms.ticks], terms), lowtide)
    assert (played.finished_s is not None) == (deadline >= terms.work_s + restart)
    assert played.finished_s is None or played.finished_s <= deadline


def seconds_a_decision(player_made_anew: bool) -> float:
    past = {"S": ("1" * 40 + "0" * 20) * 72}
    player, waits = lowtide(TERMS, past), Situation(tick=0, held=IDLE, work_s=6 * 3600, overhead_s=0, spot_prices={})
    player.choose(waits)
    begun = time.process_time()
    for _ in range(20):
        (lowtide(TERMS, past) if player_made_anew else player).choose(waits)
    return (time.process_time() - begun) / 20


def test_a_decision_takes_less_than_five_milliseconds() -> None:
    assert seconds_a_decision(player_made_anew=False) < 0.005


def test_a_decision_from_three_days_of_minutes_takes_no_longer() -> None:
    assert seconds_a_decision(player_made_anew=True) < 0.005


@pytest.mark.parametrize(("minutes_left", "stays"), [(1, True), (2, True), (4, False)])
def test_the_last_minutes_on_demand_are_not_left_for_a_restart_that_costs_more(minutes_left: int, stays: bool) -> None:
    """At $8 an hour and $2, with a restart of seven minutes: two minutes cost 27 cents, nine of spot 30 cents."""
    terms = Terms(gap_s=60, work_s=60 * minutes_left, deadline_s=36_000, restart_s=420, on_demand_price=8.0)
    now = Situation(tick=0, held=ON_DEMAND, work_s=terms.work_s, overhead_s=0, spot_prices={"a": 2.0})
    assert (lowtide(terms, {}).choose(now) == ON_DEMAND) is stays
