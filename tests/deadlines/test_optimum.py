"""The optimum against every choice there is, on games small enough for that."""

from itertools import product
from math import isclose
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from lambdas.domain.deadlines.game import IDLE, ON_DEMAND, Terms
from lowtide.deadlines import optimum
from lowtide.deadlines.bulk import POLICIES
from lowtide.deadlines.optimum import omniscient
from lowtide.deadlines.play import Run, play, replay
from tests.deadlines.build import drawn_avail, drawn_terms, run, zones

GAPS = st.sampled_from([4, 6, 10])


def least_cost(game: Run) -> float | None:
    """By exhaustive search; None where nothing is in time."""
    options = [[IDLE, ON_DEMAND, *prices] for prices in game.spot]
    played = (replay(game, choices) for choices in product(*options))
    return min((each.cost_usd for each in played if each.finished_s is not None), default=None)


@st.composite
def small_terms(draw: st.DrawFn, most_ticks: int) -> Terms:
    gap = draw(GAPS)
    return Terms(
        gap_s=gap,
        work_s=draw(st.integers(1, gap * (most_ticks - 1))),
        deadline_s=draw(st.integers(1, gap * most_ticks)),
        restart_s=draw(st.integers(0, 2 * gap + 1)),
        on_demand_price=3.0,
    )


def agrees(game: Run) -> None:
    least, found = least_cost(game), omniscient(game)
    if least is None:
        assert found.finished_s is None
    else:
        assert found.finished_s is not None
        assert isclose(found.cost_usd, least, abs_tol=1e-12)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_with_one_zone_nothing_is_cheaper(data: st.DataObject) -> None:
    terms = data.draw(small_terms(7))
    agrees(run("".join(data.draw(st.lists(st.sampled_from("011"), min_size=terms.ticks, max_size=terms.ticks))), terms))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_with_two_zones_and_moving_prices_nothing_is_cheaper(data: st.DataObject) -> None:
    terms = data.draw(small_terms(5))
    ticks = {"min_size": terms.ticks, "max_size": terms.ticks}
    avail = {zone: "".join(data.draw(st.lists(st.sampled_from("011"), **ticks))) for zone in "ab"}
    prices = {zone: data.draw(st.lists(st.sampled_from([0.5, 1.0, 1.7]), **ticks)) for zone in "ab"}
    agrees(zones(terms, avail, prices))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 9))
def test_how_many_values_are_kept_on_the_way_back_changes_nothing(data: st.DataObject, stride: int) -> None:
    terms = data.draw(drawn_terms())
    avail = {zone: data.draw(drawn_avail(terms.ticks)) for zone in "ab"}
    game = zones(terms, avail, {"a": [1.0] * terms.ticks, "b": [0.7, 1.3] * terms.ticks})
    with patch.object(optimum, "_STRIDE", stride):
        assert isclose(omniscient(game).cost_usd, least_by_one_step(game), abs_tol=1e-9)


def least_by_one_step(game: Run) -> float:
    with patch.object(optimum, "_STRIDE", 1):
        return omniscient(game).cost_usd


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_no_policy_is_cheaper(data: st.DataObject) -> None:
    terms = data.draw(drawn_terms())
    game = run(data.draw(drawn_avail(terms.ticks)), terms)
    least = omniscient(game).cost_usd
    assert all(play(game, policy).cost_usd >= least - 1e-9 for policy in POLICIES.values())
