"""Lowtide's own policy: stochastic dynamic programming made ahead, over models weighed by what the pool has seen.

For every model of spot availability the tables hold how much more each choice costs than another, played well from
there on (lowtide/deadlines/tables.py makes them by backward induction over time left, work left, what is held and the
age of the stretch). In play, the belief weighs the models, and the choice that costs least in the mean is taken,
within the guard. Of several zones, one that has spot is enough: they are one market that is up while any of them is.
"""

from collections.abc import Mapping
from dataclasses import replace

from lambdas.domain.deadlines.advice import Advice, Question
from lambdas.domain.deadlines.belief import Belief
from lambdas.domain.deadlines.game import IDLE, ON_DEMAND, Choice, Player, Situation, Terms, stay_or_cheapest
from lambdas.domain.deadlines.guard import guarded

_SHORTEST_RESTART = 0.05
"""In ticks. Lengths are told in restarts, so a restart of nothing counts as this."""


class Own:
    def __init__(self, terms: Terms, past: Mapping[str, str]) -> None:
        self._terms = terms
        self._restart_s = max(float(terms.restart_s), _SHORTEST_RESTART * terms.gap_s)
        self._belief = Belief(gap=terms.gap_s / self._restart_s, restart_hours=self._restart_s / 3600)
        for ups in zip(*past.values(), strict=True):
            self._belief.see("1" in ups)

    def choose(self, now: Situation) -> Choice:
        worth = {zone: usd for zone, usd in now.spot_prices.items() if usd < self._terms.on_demand_price}
        if len(worth) < len(now.spot_prices):
            now = replace(now, spot_prices=worth)
        self._belief.see(bool(worth))
        return guarded(self._terms, now, self._wanted(now))

    def _wanted(self, now: Situation) -> Choice:
        if now.held in now.spot_prices:
            return now.held
        left = self._terms.deadline_s - now.tick * self._terms.gap_s
        work = now.work_s + now.overhead_s
        slack = left - work - self._terms.restart_s
        if slack <= 0:
            return ON_DEMAND
        advice = Advice(
            self._belief.weights(),
            age=self._belief.age,
            work=work / self._restart_s,
            slack=slack / self._restart_s,
        )
        return _with_spot(advice, now) if now.spot_prices else _without_spot(advice, now)


def _without_spot(advice: Advice, now: Situation) -> Choice:
    keeps = now.held == ON_DEMAND
    idling = advice.difference(Question.DOWN_IDLE_OR_KEEP if keeps else Question.DOWN_IDLE_OR_START)
    return IDLE if idling < 0 else ON_DEMAND


def _with_spot(advice: Advice, now: Situation) -> Choice:
    if now.held == ON_DEMAND:
        spot, idle = advice.difference(Question.UP_SPOT_OR_KEEP), advice.difference(Question.UP_IDLE_OR_KEEP)
        costs = {ON_DEMAND: 0.0, stay_or_cheapest(now): spot, IDLE: idle}
    else:
        spot, bought = advice.difference(Question.UP_SPOT_OR_IDLE), advice.difference(Question.UP_ON_DEMAND_OR_IDLE)
        costs = {stay_or_cheapest(now): spot, ON_DEMAND: bought, IDLE: 0.0}
    return min(costs, key=costs.__getitem__)


def lowtide(terms: Terms, past: Mapping[str, str]) -> Player:
    return Own(terms, past)
