"""A run of the game, played to its end by a policy or by a given row of choices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lambdas.domain.deadlines.game import IDLE, ON_DEMAND, Choice, Policy, Situation, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One job on one stretch of recorded market."""

    id: str | int
    """As the file has it: text stays text, a number a number."""
    terms: Terms
    spot: tuple[Mapping[str, float], ...]
    """For each tick, USD per hour in each zone that has spot."""
    past: Mapping[str, str]
    """Per zone, the availability before the job started, oldest first."""
    several: bool = False
    """There is more than one zone: choices are told by zone, not as `S`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    choices: tuple[Choice, ...]
    """One a tick up to the deadline; IDLE once the work is done."""
    cost_usd: float
    finished_s: int | None
    """After the start; None when the deadline came first."""


class Illegal(ValueError):
    """A policy chose spot in a zone that has none: a bug of the policy."""


def play(run: Run, policy: Policy) -> Outcome:
    player = policy(run.terms, run.past)
    return _played(run, player.choose)


def replay(run: Run, choices: Sequence[Choice]) -> Outcome:
    """What those choices cost and when they finish; the yardstick of the optimum and of tests."""
    return _played(run, lambda now: choices[now.tick])


def _played(run: Run, choose: Callable[[Situation], Choice]) -> Outcome:
    terms, gap = run.terms, run.terms.gap_s
    held, overhead, work, billed, finished = IDLE, 0, terms.work_s, 0.0, None
    choices: list[Choice] = []
    for tick, prices in enumerate(run.spot):
        if held not in (IDLE, ON_DEMAND) and held not in prices:
            held, overhead = IDLE, 0
        choice = choose(
            Situation(tick=tick, held=held, work_s=work, overhead_s=overhead, spot_prices=prices),
        )
        choices.append(choice)
        if choice == IDLE:
            held, overhead = IDLE, 0
            continue
        billed += _price(terms, prices, choice)
        overhead = overhead if choice == held else terms.restart_s
        held, needed = choice, overhead + work
        if needed <= gap:
            end = tick * gap + needed
            finished = end if end <= terms.deadline_s else None
            break
        overhead, work = max(0, overhead - gap), work - max(0, gap - overhead)
    choices += [IDLE] * (terms.ticks - len(choices))
    return Outcome(choices=tuple(choices), cost_usd=billed * gap / 3600, finished_s=finished)


def _price(terms: Terms, prices: Mapping[str, float], choice: Choice) -> float:
    if choice == ON_DEMAND:
        return terms.on_demand_price
    if choice not in prices:
        raise Illegal(f"there is no spot in {choice}")
    return prices[choice]
