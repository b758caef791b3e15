"""Lowtide's own policy: stochastic dynamic programming made ahead, at the paces the pool's own market has shown.

For a model of spot availability the tables hold how much more each choice costs than another, played well from there on
(lowtide/deadlines/tables.py makes them by backward induction over time left, work left, what is held and the age of the
stretch). In play, what the pool has seen says how much faster or slower than the model its stretches end, and the
choice that costs least is taken, within the guard. Several zones have tables of their own, in which a zone that loses
its spot may leave another that has some.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil

from lambdas.domain.deadlines.advice import Advice, Question
from lambdas.domain.deadlines.game import IDLE, ON_DEMAND, Choice, Player, Situation, Terms
from lambdas.domain.deadlines.guard import guarded
from lambdas.domain.deadlines.market import Market
from lambdas.domain.deadlines.models import UP

_SHORTEST_RESTART = 0.05
"""In ticks. Lengths are told in restarts, so a restart of nothing counts as this."""


class Own:
    def __init__(self, terms: Terms, past: Mapping[str, str]) -> None:
        self._terms = terms
        self._restart_s = max(float(terms.restart_s), _SHORTEST_RESTART * terms.gap_s)
        self._market = Market(past, gap_hours=terms.gap_s / 3600)
        self._price_ratio = 0.0
        """Of spot when it was last seen; before, as if it were cheap."""

    def choose(self, now: Situation) -> Choice:
        worth = {zone: usd for zone, usd in now.spot_prices.items() if usd < self._terms.on_demand_price}
        if len(worth) < len(now.spot_prices):
            now = replace(now, spot_prices=worth)
        self._market.see(worth)
        if worth:
            self._price_ratio = min(worth.values()) / self._terms.on_demand_price
        return guarded(self._terms, now, self._wanted(now))

    def _wanted(self, now: Situation) -> Choice:
        if now.held in now.spot_prices:
            return now.held
        left = self._terms.deadline_s - now.tick * self._terms.gap_s
        work = now.work_s + now.overhead_s
        slack = left - work - self._terms.restart_s
        if slack <= 0:
            return ON_DEMAND
        zone = self._best_zone(now) if now.spot_prices else None
        advice = Advice(
            pace_up=self._market.pace_up,
            pace_down=self._market.pace_down,
            age_hours=self._market.age_hours(zone),
            work=work / self._restart_s,
            slack=slack / self._restart_s,
            tick=self._terms.gap_s / self._restart_s,
            restart_hours=self._restart_s / 3600,
            price_ratio=self._price_ratio,
            several=self._market.several,
        )
        if zone is None:
            return _without_spot(advice, now)
        return ON_DEMAND if self._better_to_the_end(now) else _with_spot(advice, now, zone)

    def _better_to_the_end(self, now: Situation) -> bool:
        """On on-demand with so little left that spot, were it never lost, would not pay for the restart: what the
        tables, whose steps are coarse beside that little, cannot tell."""
        if now.held != ON_DEMAND:
            return False
        gap, work = self._terms.gap_s, now.work_s + now.overhead_s
        stays, goes = ceil(work / gap), ceil((now.work_s + self._terms.restart_s) / gap)
        return stays * self._terms.on_demand_price <= goes * min(now.spot_prices.values())

    def _best_zone(self, now: Situation) -> Choice:
        """By price, and by the restart that is to be expected in the next hour: what has lasted, lasts."""

        pace = self._market.pace_up

        def hourly(zone: str) -> float:
            age = self._market.age_hours(zone)
            lost = pace * UP.exposure(age, age + 1)
            return now.spot_prices[zone] * (1 + lost * self._restart_s / 3600)

        return min(now.spot_prices, key=lambda zone: (hourly(zone), zone))


def _without_spot(advice: Advice, now: Situation) -> Choice:
    keeps = now.held == ON_DEMAND
    idling = advice.difference(Question.DOWN_IDLE_OR_KEEP if keeps else Question.DOWN_IDLE_OR_START)
    return IDLE if idling < 0 else ON_DEMAND


def _with_spot(advice: Advice, now: Situation, zone: Choice) -> Choice:
    if now.held == ON_DEMAND:
        return zone if advice.difference(Question.UP_SPOT_OR_KEEP) < 0 else ON_DEMAND
    spot, bought = advice.difference(Question.UP_SPOT_OR_IDLE), advice.difference(Question.UP_ON_DEMAND_OR_IDLE)
    costs = {zone: spot, ON_DEMAND: bought, IDLE: 0.0}
    return min(costs, key=costs.__getitem__)


def lowtide(terms: Terms, past: Mapping[str, str]) -> Player:
    return Own(terms, past)
