"""Policies from the literature, beside which Lowtide's own is measured. Each ends in the guard."""

from collections.abc import Mapping
from dataclasses import dataclass

from lambdas.domain.deadlines.game import IDLE, ON_DEMAND, Choice, Player, Situation, Terms, stay_or_cheapest
from lambdas.domain.deadlines.guard import guarded


@dataclass(frozen=True, slots=True)
class OnDemand:
    """On-demand from the first tick to the last."""

    def choose(self, _now: Situation) -> Choice:
        return ON_DEMAND


@dataclass(frozen=True, slots=True)
class Greedy:
    """Spot whenever there is spot, nothing otherwise; on-demand to the end once only that can still make it."""

    terms: Terms

    def choose(self, now: Situation) -> Choice:
        if now.held == ON_DEMAND:
            return ON_DEMAND
        return guarded(self.terms, now, stay_or_cheapest(now) if now.spot_prices else IDLE)


@dataclass(frozen=True, slots=True)
class UniformProgress:
    """Uniform Progress (Wu et al., "Can't Be Late", NSDI'24), as its authors coded it."""

    terms: Terms

    def choose(self, now: Situation) -> Choice:
        return guarded(self.terms, now, self._wanted(now))

    def _wanted(self, now: Situation) -> Choice:
        """On-demand is left only for spot, and only once progress is ahead by two restarts (its hysteresis)."""
        terms, elapsed = self.terms, now.tick * self.terms.gap_s
        if now.held in now.spot_prices:
            return now.held
        if _whole_ticks(terms, now.work_s + 2 * terms.restart_s) >= terms.deadline_s - elapsed:
            return ON_DEMAND
        if now.held == ON_DEMAND:
            ahead = self._progress(now) > self._share(elapsed + 2 * terms.restart_s)
            return stay_or_cheapest(now) if now.spot_prices and ahead else ON_DEMAND
        if now.spot_prices:
            return stay_or_cheapest(now)
        return IDLE if self._progress(now) >= self._share(elapsed) else ON_DEMAND

    def _progress(self, now: Situation) -> int:
        return self.terms.work_s - now.work_s

    def _share(self, elapsed_s: int) -> float:
        return elapsed_s * self.terms.work_s / self.terms.deadline_s


def _whole_ticks(terms: Terms, seconds: int) -> int:
    """Seconds, rounded up to whole ticks."""
    return -(-seconds // terms.gap_s) * terms.gap_s


@dataclass(frozen=True, slots=True)
class Slack:
    """The simple rule for several zones: stay, else the cheapest; wait while the slack is above a tenth of the work."""

    terms: Terms

    def choose(self, now: Situation) -> Choice:
        slack = self.terms.deadline_s - now.tick * self.terms.gap_s - now.work_s
        waiting = IDLE if slack > 0.1 * self.terms.work_s else ON_DEMAND
        return guarded(self.terms, now, stay_or_cheapest(now) if now.spot_prices else waiting)


def on_demand(_terms: Terms, _past: Mapping[str, str]) -> Player:
    return OnDemand()


def greedy(terms: Terms, _past: Mapping[str, str]) -> Player:
    return Greedy(terms)


def uniform_progress(terms: Terms, _past: Mapping[str, str]) -> Player:
    return UniformProgress(terms)


def slack(terms: Terms, _past: Mapping[str, str]) -> Player:
    return Slack(terms)
