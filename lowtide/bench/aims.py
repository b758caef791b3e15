"""What the figures are aimed at, and whether those that are kept reach it. Reckoned from the kept tables alone."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lowtide.bench.results import Result

ON_EC2 = ("reconcile", "tick", "catalogue", "teardown")
"""Functions that have a client of EC2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    figure: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    of: str
    """Name of the result that it is judged by."""
    text: str
    judge: Callable[[Result], Reached]


def judged(results: Iterable[Result]) -> list[tuple[Aim, Reached]]:
    """Of every aim whose result is kept."""
    known = {each.name: each for each in results}
    return [(aim, aim.judge(known[aim.of])) for aim in AIMS if aim.of in known]


def number(cell: str) -> float:
    """`$1,404`, `64 h`. Raises ValueError where there is none."""
    found = re.search(r"[0-9][0-9,]*(\.[0-9]+)?", cell)
    if found is None:
        raise ValueError(f"{cell!r} has no number")
    return float(found[0].replace(",", ""))


def _column(result: Result, name: str, rows: Sequence[str] = ()) -> list[float]:
    """The numbers of a column, of the rows whose first cell begins with one of `rows` (none: of all)."""
    place = result.columns.index(name)
    return [number(row[place]) for row in result.rows if not rows or row[0].startswith(tuple(rows))]


def _at_most(bound: float, column: str, *rows: str) -> Callable[[Result], Reached]:
    def judge(result: Result) -> Reached:
        found = _column(result, column, rows)
        return Reached(figure=_range(found), met=max(found) <= bound)

    return judge


def _at_least(bound: float, column: str, *rows: str) -> Callable[[Result], Reached]:
    def judge(result: Result) -> Reached:
        found = _column(result, column, rows)
        return Reached(figure=_range(found), met=min(found) >= bound)

    return judge


def _range(found: Sequence[float]) -> str:
    low, high = (f"{each:,g}" for each in (min(found), max(found)))
    return low if low == high else f"{low} to {high}"


def _others(result: Result) -> Reached:
    """Cold starts of functions without a client of EC2."""
    place = result.columns.index("ratio")
    found = [number(row[place]) for row in result.rows if row[0] not in ON_EC2]
    return Reached(figure=_range(found), met=max(found) <= 1.15)


def _as_idle(result: Result) -> Reached:
    (row,) = (row for row in result.rows if row[0] == "all calls")
    one, hundred = (row[result.columns.index(f"idle minute, {pools}")] for pools in ("1 pool", "100 pools"))
    return Reached(figure=f"{one} and {hundred}", met=one == hundred)


def _beaten(result: Result) -> Reached:
    """On how many days a peer's rule was both cheaper and faster than Lowtide's defaults, of the rule that was so most
    often."""
    days: dict[str, int] = {}
    places = [result.columns.index(name) for name in ("rule", "beats")]
    for rule, beats in ([row[place] for place in places] for row in result.rows):
        if " of " in beats:
            days[rule] = days.get(rule, 0) + int(number(beats))
    worst = max(days, key=lambda rule: days[rule])
    return Reached(figure=f"{worst} on {days[worst]}" if days[worst] else "none", met=not days[worst])


AIMS: Sequence[Aim] = (
    Aim(
        of="decision-peer",
        text="A plan is at least 20 times as fast as Ray's scheduler",
        judge=_at_least(20, "Ray / plan"),
    ),
    Aim(of="decision-peer", text="its answer costs no more than Ray's", judge=_at_most(1, "cost: plan / Ray")),
    Aim(of="decision-peer", text="and at most 1.1 times the linear bound", judge=_at_most(1.1, "cost: plan / bound")),
    Aim(
        of="packing",
        text="New instances cost at most 1.1 times the least, in the median",
        judge=_at_most(1.1, "median", "20 or more: linear", "fewer"),
    ),
    Aim(
        of="packing",
        text="and at most 1.25 times at the 95th percentile",
        judge=_at_most(1.25, "95th percentile", "20 or more: linear", "fewer"),
    ),
    Aim(
        of="functions",
        text="A cold start takes at most 1.25 times its clients alone, with EC2's",
        judge=_at_most(1.25, "ratio", *ON_EC2),
    ),
    Aim(of="functions", text="and at most 1.15 times without", judge=_others),
    Aim(of="functions", text="A function's zip is at most 5 MiB", judge=_at_most(5, "zip MiB")),
    Aim(of="money-calls", text="An idle minute makes as many calls for 1 pool as for 100", judge=_as_idle),
    Aim(
        of="money-calls",
        text="A hundred instances are one CreateFleet",
        judge=_at_most(1, "launch 100", "ec2.create_fleet"),
    ),
    Aim(
        of="money-costs",
        text="A month at rest costs at most $1 with the free tier",
        judge=_at_most(1, "with the free tier", "Lowtide at rest"),
    ),
    Aim(of="money-costs", text="and at most $10 without", judge=_at_most(10, "nothing free", "Lowtide at rest")),
    Aim(
        of="latency",
        text="From SendMessage to CreateFleet at most 1.5 times the floor",
        judge=_at_most(1.5, "median / floor", "SendMessage to CreateFleet"),
    ),
    Aim(of="latency", text="behind 1,000 messages too", judge=_at_most(1.5, "median / floor", "the same behind")),
    Aim(of="latency", text="and to the job's start", judge=_at_most(1.5, "median / floor", "SendMessage to the job")),
    Aim(
        of="intake",
        text="Intake takes half as many messages a second as a function that does nothing",
        judge=_at_least(0.5, "intake / nothing", "messages a second"),
    ),
    Aim(of="intake", text="Of a flood of messages none is lost", judge=_at_least(1, "intake / nothing", "a flood")),
    Aim(of="flood", text="nor of a larger one", judge=_at_least(1, "share")),
    Aim(
        of="claims",
        text="Half as many claims a second as bare conditional writes",
        judge=_at_least(0.5, "claims / writes"),
    ),
    Aim(of="claims", text="and half as many heartbeats", judge=_at_least(0.5, "heartbeats / writes")),
    Aim(
        of="scale",
        text="A tick over 10,000 instances takes under 30 s on AWS",
        judge=_at_most(30, "on AWS, about, s", "a tick over", "a tick that first"),
    ),
    Aim(
        of="peers", text="On no recorded day is a peer's rule both cheaper and faster than the defaults", judge=_beaten
    ),
)
