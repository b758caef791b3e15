"""What every policy keeps: the deadline where on-demand makes it, and the arrow of time."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdas.domain.deadlines.game import IDLE, Situation, Terms
from lambdas.domain.deadlines.guard import guarded, is_safe
from lambdas.domain.deadlines.published import slack
from lowtide.deadlines.bulk import POLICIES
from lowtide.deadlines.play import play
from tests.deadlines.build import TERMS, drawn_avail, drawn_terms, run, zones

EVERY = pytest.mark.parametrize("name", POLICIES)


@EVERY
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_deadline_that_on_demand_makes_is_never_missed(name: str, data: st.DataObject) -> None:
    terms = data.draw(drawn_terms())
    played = play(run(data.draw(drawn_avail(terms.ticks)), terms, past=data.draw(drawn_avail(50))), POLICIES[name])
    assert played.finished_s is not None


@EVERY
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_deadline_is_never_missed_with_several_zones(name: str, data: st.DataObject) -> None:
    terms = data.draw(drawn_terms())
    avail = {zone: data.draw(drawn_avail(terms.ticks)) for zone in "ab"}
    price = {zone: data.draw(st.lists(st.floats(0.5, 2), min_size=terms.ticks, max_size=terms.ticks)) for zone in "ab"}
    assert play(zones(terms, avail, price), POLICIES[name]).finished_s is not None


@EVERY
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_choices_up_to_a_tick_do_not_depend_on_what_comes_after(name: str, data: st.DataObject) -> None:
    terms = data.draw(drawn_terms(makeable=False))
    one, other = data.draw(drawn_avail(terms.ticks)), data.draw(drawn_avail(terms.ticks))
    tick = data.draw(st.integers(1, terms.ticks))
    mixed = one[:tick] + other[tick:]
    past = data.draw(drawn_avail(40))
    choices = [play(run(avail, terms, past=past), POLICIES[name]).choices[:tick] for avail in (one, mixed)]
    assert choices[0] == choices[1]


def test_idling_is_unsafe_from_the_tick_on_whose_end_leaves_too_little_for_a_start_and_the_work() -> None:
    now = Situation(tick=4, held=IDLE, work_s=270, overhead_s=0, spot_prices={})
    assert is_safe(TERMS, now, IDLE)
    assert not is_safe(TERMS, replace(now, work_s=271), IDLE)
    assert guarded(TERMS, replace(now, work_s=271), IDLE) == "O"


def test_spot_just_lost_is_replaced_by_on_demand_when_time_is_short() -> None:
    terms = replace(TERMS, deadline_s=240 + 60 + 30)
    assert play(run("110000", terms), POLICIES["greedy"]).choices == tuple("SSOOO-")


def test_overhead_that_still_runs_is_counted() -> None:
    """Of a start of 90 s, 30 s are left for the second tick, which therefore brings 30 s of progress and not 60."""
    terms = Terms(gap_s=60, work_s=240, deadline_s=120 + 90 + 210, restart_s=90, on_demand_price=3.0)
    now = Situation(tick=1, held="S", work_s=240, overhead_s=30, spot_prices={"S": 1.0})
    assert is_safe(terms, now, "S")
    assert not is_safe(replace(terms, deadline_s=terms.deadline_s - 1), now, "S")


def test_uniform_progress_waits_while_it_is_ahead_and_buys_on_demand_once_behind() -> None:
    assert play(run("1100000000", replace(TERMS, restart_s=0)), POLICIES["uniform-progress"]).choices[:7] == tuple(
        "SS----O"
    )


def test_the_slack_rule_waits_while_slack_is_above_a_tenth_of_the_work() -> None:
    terms = replace(TERMS, restart_s=0, deadline_s=480)
    assert play(run("00000000", terms), slack).choices == tuple("----OOOO")


def test_a_job_that_cannot_be_in_time_is_late() -> None:
    assert play(run("1111", replace(TERMS, deadline_s=240)), POLICIES["greedy"]).finished_s is None
