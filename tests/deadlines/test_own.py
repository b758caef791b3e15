"""Lowtide's own policy: what it believes, what its tables say, and that both are what they are said to be."""

import time
from base64 import b85decode
from zlib import decompress

import pytest

from lambdas.domain.deadlines import models, tables
from lambdas.domain.deadlines.advice import LIMIT, Advice, Question, encoded
from lambdas.domain.deadlines.belief import Belief
from lambdas.domain.deadlines.game import IDLE, ON_DEMAND, Situation, Terms
from lambdas.domain.deadlines.own import lowtide
from lowtide.deadlines.tables import differences, packed

TERMS = Terms(gap_s=300, work_s=6 * 3600, deadline_s=10 * 3600, restart_s=360, on_demand_price=3.0)


def believed(seen: str) -> Belief:
    belief = Belief(gap=1.0, restart_hours=0.1)
    for tick in seen:
        belief.see(tick == "1")
    return belief


def expected_up_scale(seen: str) -> float:
    scales = [scale for scale in models.UP_SCALES for _ in models.DOWN_SCALES]
    return sum(w * s for w, s in zip(believed(seen).weights(), scales, strict=True))


def table(text: str) -> bytes:
    return decompress(b85decode(text.replace("\n", "")))


def test_the_tables_are_what_the_induction_gives() -> None:
    """To one unit: another machine may round a last bit otherwise."""
    made, kept = table(packed(differences())), table(tables.PACKED)
    assert max(abs(one - other) for one, other in zip(made, kept, strict=True)) <= 1


def test_the_tables_have_a_byte_for_every_model_at_every_state() -> None:
    states = len(Question) * len(models.AGES) * len(models.WORKS) * len(models.SLACKS)
    assert len(table(tables.PACKED)) == states * len(models.UP_SCALES) * len(models.DOWN_SCALES)


def test_a_byte_is_nearest_to_what_it_stands_for_where_choices_are_close() -> None:
    assert encoded(0.0) == 127
    assert encoded(-2 * LIMIT) == 0
    assert encoded(2 * LIMIT) == 254
    assert encoded(0.001) > 127 > encoded(-0.001)


def test_weights_are_probabilities() -> None:
    weights = believed("1101").weights()
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0


def test_long_stretches_of_spot_make_long_ones_more_likely() -> None:
    assert expected_up_scale("1" * 100 + "0" + "1" * 100) > expected_up_scale("10" * 20) + 10


def test_with_much_slack_and_spot_that_comes_and_goes_an_outage_is_waited_through() -> None:
    now = Situation(tick=0, held=IDLE, work_s=6 * 3600, overhead_s=0, spot_prices={})
    assert lowtide(TERMS, {"S": "1111110" * 40}).choose(now) == IDLE


def test_a_change_from_on_demand_to_spot_is_not_made_for_spot_that_never_lasts() -> None:
    now = Situation(tick=20, held=ON_DEMAND, work_s=4 * 3600, overhead_s=0, spot_prices={"S": 1.0})
    assert lowtide(TERMS, {"S": "10" * 200}).choose(now) != "S"
    assert lowtide(TERMS, {"S": "1" * 200}).choose(now) == "S"


def test_spot_not_cheaper_than_on_demand_is_no_spot() -> None:
    now = Situation(tick=0, held=IDLE, work_s=6 * 3600, overhead_s=0, spot_prices={"S": 3.0})
    assert lowtide(TERMS, {"S": "1" * 50}).choose(now) != "S"


def test_advice_moves_steadily_between_the_points_of_the_tables() -> None:
    weights = believed("1110000").weights()
    said = [
        Advice(weights, age=2.0, work=20.0, slack=slack).difference(Question.DOWN_IDLE_OR_START)
        for slack in (8.0, 9.0, 10.0, 12.0)
    ]
    assert said == sorted(said) or said == sorted(said, reverse=True)


def test_a_decision_takes_less_than_five_milliseconds() -> None:
    player = lowtide(TERMS, {"S": "1100" * 200})
    player.choose(Situation(tick=0, held=IDLE, work_s=6 * 3600, overhead_s=0, spot_prices={}))
    begun = time.process_time()
    for tick in range(1, 21):
        player.choose(Situation(tick=tick, held=IDLE, work_s=6 * 3600, overhead_s=0, spot_prices={}))
    assert (time.process_time() - begun) / 20 < 0.005
