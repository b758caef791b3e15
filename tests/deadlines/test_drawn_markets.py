"""The policy that ships, over markets drawn from the model of availability at every price: in time, and never dearer
than the published policies in sum."""

import random
from collections.abc import Iterator
from math import exp

import pytest

from lambdas.domain.deadlines.game import Terms
from lambdas.domain.deadlines.models import DOWN, UP
from lowtide.deadlines.bulk import POLICIES
from lowtide.deadlines.play import Run, play

GAP_S = 600
PAST_TICKS = 144
"""A day of ticks."""
EACH = 20
"""Markets for each restart and tightness."""


def drawn(ticks: int, chance: random.Random) -> str:
    """A market of so many ticks, at a pace of 1 and of any age at its beginning."""
    hours, up, age, row = GAP_S / 3600, chance.random() < 0.6, 8 * chance.random() ** 3, ""
    for _ in range(ticks):
        row += "01"[up]
        ends = (UP if up else DOWN).exposure(age, age + hours)
        up, age = (not up, 0.0) if chance.random() > exp(-ends) else (up, age + hours)
    return row


def drawn_runs(price_ratio: float) -> Iterator[Run]:
    chance = random.Random(1)
    for tightness in (0.5, 0.7, 0.9):
        for restart_s in (180, 720, 1440):
            for number in range(EACH):
                work_s = 6 * 3600
                terms = Terms(
                    gap_s=GAP_S,
                    work_s=work_s,
                    deadline_s=round(work_s / tightness),
                    restart_s=restart_s,
                    on_demand_price=1.0,
                )
                row = drawn(PAST_TICKS + terms.ticks, chance)
                spot = tuple({"S": price_ratio} if up == "1" else {} for up in row[PAST_TICKS:])
                name = f"{tightness} {restart_s} {number}"
                yield Run(id=name, terms=terms, spot=spot, past={"S": row[:PAST_TICKS]})


@pytest.mark.parametrize("price_ratio", [0.1, 0.2, 0.318, 0.5, 0.7, 0.9])
def test_at_any_price_no_deadline_is_missed_and_no_published_policy_costs_less(price_ratio: float) -> None:
    runs = tuple(drawn_runs(price_ratio))
    played = {name: [play(run, policy) for run in runs] for name, policy in POLICIES.items()}
    assert all(each.finished_s is not None for outcomes in played.values() for each in outcomes)
    costs = {name: sum(each.cost_usd for each in outcomes) for name, outcomes in played.items()}
    assert costs["lowtide"] == min(costs.values()), costs
