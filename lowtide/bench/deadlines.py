"""What policies cost beside the omniscient optimum on recorded availability, with the traces split in two.

The set is the one that the literature's numbers are told for here: jobs of 48 h and 6 h, tightness .5 to .9, restarts
of .05 to .4 h, seeded starts per trace. Beside it, the same jobs of 48 h over several zones at the recorded prices of
each tick. Recorded data is not part of the project: its place is asked for.
"""

import json
import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lambdas.domain.deadlines.published import slack
from lowtide.bench.results import Result
from lowtide.deadlines.bulk import OMNISCIENT, PLAYABLE, POLICIES, outcomes
from lowtide.deadlines.play import Outcome, Run, play
from lowtide.deadlines.runs import run_of

ENV_TRACES = "LOWTIDE_DEADLINE_TRACES"
HISTORY_HOURS = 72
GROUPS = ("A1a", "A2a", "P2a")
JOB_HOURS = (48, 6)
TIGHTNESS = (0.5, 0.6, 0.7, 0.8, 0.9)
RESTART_HOURS = (0.05, 0.1, 0.2, 0.4)
TRAINED_ON = ("A1a_us-west-2a", "A2a_us-west-2a", "A2a_us-east-2a")
"""Names of traces that the models were fitted on begin so."""

REGIONS = ("A2a_us-east-2", "A2a_us-west-2")
"""Traces of several zones with prices by the tick."""
ZONE_STARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    trace: str
    job_hours: int
    tightness: float
    restart_hours: float

    @property
    def group(self) -> str:
        return self.trace[:3]

    @property
    def trained(self) -> bool:
        return self.trace.startswith(TRAINED_ON)


def cells(place: Path, starts: int, seed: int, history: int = HISTORY_HOURS) -> list[tuple[Cell, Run]]:
    """Every run of the set that fits its trace; the same for the same seed."""
    return list(_cells(place, starts, seed, history))


def _cells(place: Path, starts: int, seed: int, history: int) -> Iterator[tuple[Cell, Run]]:
    for path in sorted(place.glob("*.json")):
        trace = json.loads(path.read_text(encoding="utf-8"))
        chance = random.Random(f"{seed} {path.stem}")
        for hours in JOB_HOURS:
            for tightness in TIGHTNESS:
                ticks = -(-round(hours / tightness * 3600) // trace["gap_seconds"])
                for restart in RESTART_HOURS:
                    cell = Cell(trace=path.stem, job_hours=hours, tightness=tightness, restart_hours=restart)
                    for number in range(starts):
                        last = len(trace["avail"]) - ticks
                        if last >= 0:
                            start = chance.randint(0, last)
                            yield cell, _run(path, trace, cell, start, number, history)


def _run(path: Path, trace: Mapping[str, object], cell: Cell, start: int, number: int, history: int) -> Run:
    line = {
        **{"id": f"{cell}-{number}", "trace": str(path), "start": start, "job_hours": cell.job_hours},
        **{"deadline_hours": cell.job_hours / cell.tightness, "restart_hours": cell.restart_hours},
        **{"spot_price": trace["spot_price"], "on_demand_price": trace["on_demand_price"]},
        "history_hours": history,
    }
    return run_of(json.dumps(line), beside=path.parent)


def ratio(cells: Sequence[Cell], costs: Sequence[float], best: Sequence[float]) -> float:
    """Mean over the groups of (sum of cost / sum of optimum)."""
    sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for cell, cost, least in zip(cells, costs, best, strict=True):
        sums[cell.group][0] += cost
        sums[cell.group][1] += least
    return sum(cost / least for cost, least in sums.values()) / len(sums) if sums else float("nan")


def _place() -> Path:
    place = os.environ.get(ENV_TRACES, "")
    if not place or not any(Path(place).glob("*.json")):
        sys.exit(f"No recorded traces are there: set {ENV_TRACES} to the directory that has them.")
    return Path(place)


def deadlines(*, starts: int = 8, seed: int = 1) -> Result:
    played = cells(_place(), starts, seed)
    runs = [run for _, run in played]
    best = list(outcomes(runs, OMNISCIENT))
    rows = [_row(name, [cell for cell, _ in played], list(outcomes(runs, name)), best) for name in PLAYABLE[:-1]]
    return Result(
        name="deadlines",
        title="A job with a deadline on spot",
        about=f"Cost beside the omniscient optimum over {len(runs)} runs ({starts} seeded starts a cell), mean over "
        "the groups A1a, A2a, P2a. The models were fitted on the traces of the column train; see docs/deadlines.md.",
        columns=("policy", "all", "48 h", "6 h", "train", "validation", "missed"),
        rows=tuple(rows),
    )


def _row(name: str, cells: Sequence[Cell], found: Sequence[Outcome], best: Sequence[Outcome]) -> tuple[str, ...]:
    def part(chosen: Sequence[bool]) -> str:
        kept = [(c, o.cost_usd, b.cost_usd) for c, o, b, k in zip(cells, found, best, chosen, strict=True) if k]
        return f"{ratio([c for c, _, _ in kept], [o for _, o, _ in kept], [b for _, _, b in kept]):.4f}"

    parts = [
        [True for _ in cells],
        [cell.job_hours == 48 for cell in cells],
        [cell.job_hours == 6 for cell in cells],
        [cell.trained for cell in cells],
        [not cell.trained for cell in cells],
    ]
    return (name, *map(part, parts), str(sum(each.finished_s is None for each in found)))


def in_zones(place: Path, region: str, starts: int, seed: int) -> list[Run]:
    """Jobs of 48 h over all zones of a region at the prices of each tick."""
    traces = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(place.glob(f"{region}*.json"))}
    steps = {zone: _steps(trace["spot_prices_per_tick"]) for zone, trace in traces.items()}
    gap = next(iter(traces.values()))["gap_seconds"]
    shortest = min(len(trace["avail"]) for trace in traces.values())
    chance, found = random.Random(f"{seed} {region}"), list[Run]()
    for tightness in TIGHTNESS:
        last = shortest - -(-round(48 / tightness * 3600) // gap)
        for restart in RESTART_HOURS:
            for number in range(starts):
                line = {
                    **{"id": f"{region}-{tightness}-{restart}-{number}", "start": chance.randint(0, last)},
                    **{"trace": {zone: str(place / f"{zone}.json") for zone in traces}, "spot_price": steps},
                    **{"job_hours": 48, "deadline_hours": 48 / tightness, "restart_hours": restart},
                    **{"on_demand_price": next(iter(traces.values()))["on_demand_price"]},
                    "history_hours": HISTORY_HOURS,
                }
                found.append(run_of(json.dumps(line), beside=place))
    return found


def _steps(prices: Sequence[float]) -> list[tuple[int, float]]:
    return [(tick, usd) for tick, usd in enumerate(prices) if tick == 0 or usd != prices[tick - 1]]


def zones(*, starts: int = ZONE_STARTS, seed: int = 1) -> Result:
    place = _place()
    policies = {**POLICIES, "slack": slack}
    rows: list[tuple[str, ...]] = []
    for region in REGIONS:
        runs = in_zones(place, region, starts, seed)
        best = sum(each.cost_usd for each in outcomes(runs, OMNISCIENT))
        for name, policy in policies.items():
            found = [play(run, policy) for run in runs]
            missed = sum(each.finished_s is None for each in found)
            rows.append((region, name, f"{sum(each.cost_usd for each in found) / best:.4f}", str(missed)))
    return Result(
        name="deadlines-zones",
        title="A job with a deadline on spot of several zones",
        about=f"Cost beside the omniscient optimum, jobs of 48 h, {starts} seeded starts a cell, prices of each tick.",
        columns=("zones", "policy", "cost / optimum", "missed"),
        rows=tuple(rows),
    )


def main() -> None:
    """`python -m lowtide.bench.deadlines [STARTS]`"""
    console = Console(width=120)
    deadlines(starts=int(sys.argv[1]) if len(sys.argv) > 1 else 8).show(console)
    zones().show(console)


if __name__ == "__main__":
    main()
