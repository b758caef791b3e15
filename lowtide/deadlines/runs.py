"""A file of runs, read: JSON Lines, each checked; what is wrong is told with its line and field.

    {"id": "a", "trace": "us-west-2a.json", "start": 120, "job_hours": 6, "deadline_hours": 10, "restart_hours": 0.1,
     "spot_price": 0.97, "on_demand_price": 3.06, "history_hours": 72}

By zone, `trace` is {ZONE: PATH} and `spot_price` a number, or {ZONE: USD or [[tick, USD from it on], …]}.
A trace is JSON with `gap_seconds` and `avail`, one character a tick, `1` = spot can be held during that tick.
"""

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, ValidationError, model_validator

from lambdas.domain.deadlines.game import IDLE, ON_DEMAND, Choice, Terms
from lowtide.deadlines.play import Run

SINGLE = "S"
"""The name of the only zone where none was given, and its token whatever its name."""

_LONGEST_TICKS = 1_000_000
Number = StrictInt | StrictFloat
Hours = Annotated[Number, Field(gt=0, le=24 * 366, allow_inf_nan=False)]
Price = Annotated[Number, Field(gt=0, allow_inf_nan=False)]
Step = tuple[Annotated[StrictInt, Field(ge=0)], Price]
Steps = Annotated[list[Step], Field(min_length=1)]
Zone = Annotated[StrictStr, Field(min_length=1)]


class RunsError(ValueError):
    """`str()` says the file, the line, the field and what is wrong with it."""


class _Field(ValueError):
    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")


class RunLine(BaseModel):
    """A line of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: StrictStr | StrictInt
    trace: Zone | Annotated[dict[Zone, Zone], Field(min_length=1)]
    start: Annotated[StrictInt, Field(ge=0)]
    job_hours: Hours
    deadline_hours: Hours
    restart_hours: Annotated[Number, Field(ge=0, le=24 * 366, allow_inf_nan=False)]
    spot_price: Price | dict[Zone, Price | Steps]
    on_demand_price: Price
    history_hours: Annotated[Number, Field(ge=0, allow_inf_nan=False)] = 0

    @model_validator(mode="after")
    def _zones_agree(self) -> "RunLine":
        if isinstance(self.spot_price, dict):
            if not isinstance(self.trace, dict):
                raise _Field("spot_price", "prices by zone need a trace by zone: {ZONE: PATH, …}")
            if unpriced := sorted(set(self.trace) - set(self.spot_price)):
                raise _Field("spot_price", f"has no price for {', '.join(unpriced)}")
            for zone, steps in self.spot_price.items():
                if isinstance(steps, list) and [t for t, _ in steps] != sorted({t for t, _ in steps}):
                    raise _Field(f"spot_price.{zone}", "the ticks must rise")
        if isinstance(self.trace, dict) and (taken := {IDLE, ON_DEMAND} & set(self.trace)):
            raise _Field("trace", f"{', '.join(sorted(taken))} cannot name a zone: it is a token of the actions")
        return self


class _Trace(BaseModel):
    model_config = ConfigDict(frozen=True)

    gap_seconds: Annotated[StrictInt, Field(gt=0, le=86_400)]
    avail: Annotated[StrictStr, Field(pattern="^[01]+$")]


def runs_of(path: Path) -> list[Run]:
    """Every run of the file, in its order. Paths of traces are as seen from here, else from beside the file.

    Raises RunsError at the first line that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunsError(f"{path} cannot be read: {error}") from error
    runs: list[Run] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                runs.append(run_of(line, beside=path.parent))
            except ValueError as error:
                raise RunsError(f"{path}, line {number}: {_told(error)}") from error
    if not runs:
        raise RunsError(f"{path} has no runs: write one JSON object a line")
    return runs


def _told(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        field, said = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        return f"{field}: {said}" if field else said
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: {error.msg} at column {error.colno}"
    return str(error)


def run_of(line: str, *, beside: Path) -> Run:
    """The run that a line describes. Raises ValueError with the field's name first."""
    read = RunLine.model_validate(json.loads(line))
    named = isinstance(read.trace, dict)
    paths = read.trace if isinstance(read.trace, dict) else {SINGLE: read.trace}
    traces = {zone: _trace(zone if named else "", _place(path, beside)) for zone, path in paths.items()}
    gaps = {trace.gap_seconds for trace in traces.values()}
    if len(gaps) > 1:
        raise _Field("trace", f"the zones' ticks differ: {', '.join(map(str, sorted(gaps)))} seconds")
    terms = _terms(read, gaps.pop())
    end = read.start + terms.ticks
    if short := [zone for zone, trace in traces.items() if len(trace.avail) < end]:
        has = min(len(traces[zone].avail) for zone in short)
        raise _Field("start", f"the run needs ticks {read.start} to {end - 1}, the trace has {has}")
    seen = max(0, read.start - int(read.history_hours * 3600 // terms.gap_s))
    prices = {zone: _price(read, zone) for zone in traces}
    return Run(
        id=read.id,
        terms=terms,
        spot=tuple(
            {zone: prices[zone](tick) for zone, trace in traces.items() if trace.avail[tick] == "1"}
            for tick in range(read.start, end)
        ),
        past={zone: trace.avail[seen : read.start] for zone, trace in traces.items()},
        several=len(paths) > 1,
    )


def _terms(read: RunLine, gap_s: int) -> Terms:
    terms = Terms(
        gap_s=gap_s,
        work_s=round(read.job_hours * 3600),
        deadline_s=round(read.deadline_hours * 3600),
        restart_s=round(read.restart_hours * 3600),
        on_demand_price=float(read.on_demand_price),
    )
    for field, seconds in (("job_hours", terms.work_s), ("deadline_hours", terms.deadline_s)):
        if seconds < 1:
            raise _Field(field, "must be at least a second")
    if terms.ticks > _LONGEST_TICKS:
        raise _Field("deadline_hours", f"is more than {_LONGEST_TICKS} ticks away")
    return terms


def _price(read: RunLine, zone: str) -> Callable[[int], float]:
    """The price at a tick of the trace; before the first step, the first step's."""
    price = read.spot_price[zone] if isinstance(read.spot_price, dict) else read.spot_price
    if not isinstance(price, list):
        flat = float(price)
        return lambda _tick: flat
    ticks, steps = [tick for tick, _ in price], [float(usd) for _, usd in price]
    return lambda tick: steps[max(0, bisect_right(ticks, tick) - 1)]


def _place(path: str, beside: Path) -> Path:
    here = Path(path)
    return here if here.is_absolute() or here.exists() else beside / path


def _trace(zone: str, path: Path) -> _Trace:
    field = f"trace.{zone}" if zone else "trace"
    try:
        return _read(path)
    except OSError as error:
        raise _Field(field, f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _Field(field, f"{path}: {_told(error)}") from error


@lru_cache(maxsize=256)
def _read(path: Path) -> _Trace:
    return _Trace.model_validate(json.loads(path.read_text(encoding="utf-8")))


def _token(choice: Choice) -> str:
    """Of a run with one zone: that zone has no other token than `S`."""
    return choice if choice in (IDLE, ON_DEMAND) else SINGLE


def line_of(
    run: Run, policy: str, choices: tuple[str, ...], cost_usd: float, finished_s: int | None
) -> Mapping[str, Any]:
    """The line that tells how a run went."""
    return {
        "id": run.id,
        "policy": policy,
        "actions": list(choices) if run.several else "".join(map(_token, choices)),
        "cost_usd": round(cost_usd, 9),
        "finished_hours": None if finished_s is None else finished_s / 3600,
        "missed": finished_s is None,
    }
