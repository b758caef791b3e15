"""`lowtide simulate pool`: pool files, side by side, over a recorded market and recorded jobs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from lambdas.domain.durations import parse_duration
from lowtide.cli.connection import Deployment, utc_now
from lowtide.cli.errors import Failure, Misuse
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack
from lowtide.cli.output import console, print_json

AWS, LEDGER, MODEL = "aws", "ledger", "model"
DEFAULT_OUT = Path("backtest.html")


def pool(
    files: Annotated[list[Path], typer.Argument(help="Pool files, one column each.")],
    market: Annotated[
        list[str],
        typer.Option(
            help="Recorded market: a file or directory, TYPE@ZONE=FILE, `aws` for the account's own price history, or "
            "`model` for the seeded one. May be given several times."
        ),
    ],
    jobs: Annotated[str, typer.Option(help="Jobs: a .jsonl, .swf, .swf.gz or .csv file, or `ledger` for the stack's.")],
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="Also play the first file by a peer's rule: see docs/backtests.md. May be given several times."
        ),
    ] = None,
    pool_name: Annotated[str | None, typer.Option("--pool", help="The pool of jobs that name none.")] = None,
    region: Annotated[
        str | None, typer.Option(help="Of a market with zones of several Regions, the one to play.")
    ] = None,
    days: Annotated[float | None, typer.Option(help="Only the first days of the jobs.", min=0.01, max=366)] = None,
    count: Annotated[int, typer.Option(help="How many jobs of a file without submissions.", min=1)] = 10_000,
    width: Annotated[
        str, typer.Option(help="A processor of a workload log is one of: slots, vcpus; or one.")
    ] = "slots",
    depth: Annotated[int, typer.Option(help="Instances an offering holds while a record says available.", min=1)] = 4,
    catalogue: Annotated[
        Path | None, typer.Option(help="Instance types with their prices, as CSV; default: AWS's, or the built-in one.")
    ] = None,
    boot: Annotated[
        str | None, typer.Option(help="From launch to the worker's first call; default 2m, or measured.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="How often jobs save, or never.")] = "5m",
    restart: Annotated[str, typer.Option(help="What an attempt after an interruption needs first.")] = "0s",
    seed: Annotated[int, typer.Option(help="Of whatever is drawn.", min=0)] = 1,
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write; default backtest.html, none with --json.")
    ] = None,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """What pools would have cost, how long jobs would have waited, and what would have been interrupted and missed."""
    from lowtide.backtest.setup import Unplayable
    from lowtide.backtest.wrong import WrongFile  # the engine's import is for this verb alone

    asked = _Asked(
        files=files,
        market=market,
        jobs=jobs,
        rules=rule or [],
        pool=pool_name,
        region=region,
        days=days,
        count=count,
        width=width,
        depth=depth,
        catalogue=catalogue,
        boot=None if boot is None else _duration("--boot", boot),
        checkpoint=None if checkpoint == "never" else _duration("--checkpoint", checkpoint),
        restart=_duration("--restart", restart, least=0),
        seed=seed,
        stack=stack,
    )
    try:
        document = _document(asked)
    except WrongFile as error:
        raise Misuse(str(error)) from error
    except Unplayable as error:
        raise Failure(str(error)) from error
    if as_json:
        print_json(document)
    else:
        _show(document)
    if (place := out or (None if as_json else DEFAULT_OUT)) is not None:
        _write(place, document, quiet=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    files: Sequence[Path]
    market: Sequence[str]
    jobs: str
    rules: Sequence[str]
    pool: str | None
    region: str | None
    days: float | None
    count: int
    width: str
    depth: int
    catalogue: Path | None
    boot: timedelta | None
    checkpoint: timedelta | None
    restart: timedelta
    seed: int
    stack: str

    @property
    def of_account(self) -> bool:
        return AWS in self.market or self.jobs == LEDGER


def _duration(option: str, text: str, *, least: float = 1) -> timedelta:
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise Misuse(f"{option} {text}: {error}") from error
    if found.total_seconds() < least:
        raise Misuse(f"{option} {text} is below {least:g} s")
    return found


def _document(asked: _Asked) -> dict[str, Any]:
    """Everything that was found, for show and for programs."""
    from lowtide.backtest.outcome import Scenario, document
    from lowtide.backtest.play import Assumptions, Play
    from lowtide.backtest.rules import LOWTIDE, RULES
    from lowtide.backtest.setup import on_demand_prices, pools_of, routed, scene
    from lowtide.poolfile.load import read

    if unknown := sorted(set(asked.rules) - set(RULES)):
        raise Misuse(f"--rule {unknown[0]} is not known: choose of {', '.join(RULES)}")
    files = [(path, _read(read, path)) for path in asked.files]
    deployment = Deployment(asked.stack) if asked.of_account else None
    notes: list[str] = []
    found_jobs, told_jobs = _jobs(asked, files, deployment, notes)
    tracks, told_market = _market(asked, files, found_jobs, deployment)
    region = asked.region or (deployment.region if deployment else None)
    played_in = scene(tracks, found_jobs, region=region, days=asked.days, seed=asked.seed)
    facts = _facts(asked, files, played_in.region, deployment, notes)
    boot = asked.boot or _measured(asked, files, deployment, notes)
    assumptions = Assumptions(checkpoint=asked.checkpoint, restart=asked.restart, seed=asked.seed)
    if boot is not None:
        assumptions = replace(
            assumptions, boot=boot, bare_metal_boot=boot if asked.boot else assumptions.bare_metal_boot
        )
    plays: list[tuple[str, str, Play]] = []
    names = _names(asked.files)
    for number, (path, file) in enumerate(files):
        pools, told = pools_of(file, played_in, facts, utc_now())
        notes += told
        by_pool = routed(played_in.jobs, pools, asked.jobs)
        for rule in [LOWTIDE, *(asked.rules if number == 0 else ())]:
            play = Play(
                pools,
                by_pool,
                played_in.conditions,
                zones=played_in.zones,
                on_demand=on_demand_prices(pools),
                begin=played_in.begin,
                until=played_in.until,
                assumptions=assumptions,
                rule=RULES.get(rule),
            )
            title = names[path] if rule == LOWTIDE else RULES[rule].title
            plays.append((title, rule, play))
    scenarios = [Scenario(name=name, rule=rule, played=played) for name, rule, played in _played(plays)]
    return document(
        scenarios,
        market=told_market,
        jobs=f"{len(played_in.jobs):,} jobs of {told_jobs}",
        region=played_in.region,
        begin=played_in.begin,
        until=played_in.until,
        assumptions=assumptions,
        notes=[*played_in.notes, *notes],
    )


def _read(read: Any, path: Path) -> Any:
    try:
        found = read(path)
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"{path} cannot be read: {error}") from error
    if found.problems:
        raise Failure(f"{path}: {'; '.join(map(str, found.problems))}")
    return found


def _names(files: Sequence[Path]) -> dict[Path, str]:
    """Each by its own name, or by as much of its path as tells it apart."""
    if len(set(files)) < len(files):
        raise Misuse("a pool file is named twice: name each once")
    stems = [path.stem for path in files]
    return {path: path.stem if stems.count(path.stem) == 1 else str(path) for path in files}


def _played(plays: Sequence[tuple[str, str, Any]]) -> list[tuple[str, str, Any]]:
    """One after the other, with a bar for each while it lasts."""
    found: list[tuple[str, str, Any]] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for name, rule, play in plays:
            task = progress.add_task(f"Playing {name}", total=1.0)

            def tell(done: float, task: TaskID = task) -> None:
                progress.update(task, completed=done)

            found.append((name, rule, play.run(tell)))
    return found


# --- inputs -----------------------------------------------------------------------------------------------------------


def _jobs(
    asked: _Asked, files: Sequence[Any], deployment: Deployment | None, notes: list[str]
) -> tuple[list[Any], str]:
    from lowtide.backtest.job_files import Drawn, Width, jobs_of

    if asked.jobs == LEDGER:
        assert deployment is not None
        return _ledger(files, deployment, notes)
    if asked.width not in set(Width):
        raise Misuse(f"--width {asked.width} is not known: choose one of {', '.join(Width)}")
    drawn = Drawn(count=asked.count, days=asked.days or 30.0, seed=asked.seed)
    path = Path(asked.jobs)
    return jobs_of(path, width=Width(asked.width), drawn=drawn, pool=asked.pool), path.name


def _ledger(files: Sequence[Any], deployment: Deployment, notes: list[str]) -> tuple[list[Any], str]:
    from lowtide.backtest.account import LEDGER as PERIOD
    from lowtide.backtest.account import ledger_jobs

    found = ledger_jobs(deployment.table, _pool_names(files), deployment.now() - PERIOD)
    if not found.jobs:
        names = ", ".join(_pool_names(files))
        raise Failure(
            f"stack {deployment.stack} has no ended jobs of the last {PERIOD.days} days in {names}: name a file instead"
        )
    if found.left_out:
        notes.append(f"{found.left_out:,} jobs of the ledger have not ended, or never ran: they are left out")
    if found.interrupted:
        notes.append(
            f"{found.interrupted:,} jobs of the ledger were interrupted: their work is the time of all their attempts, "
            "which may be too much"
        )
    return found.jobs, f"stack {deployment.stack}'s ledger"


def _pool_names(files: Sequence[Any]) -> list[str]:
    return sorted({entry.pool_name for _, file in files for entry in file.entries})


def _type_names(files: Sequence[Any]) -> list[str]:
    return sorted({name for _, file in files for entry in file.entries for name in entry.provider.types()})


def _market(
    asked: _Asked, files: Sequence[Any], jobs: Sequence[Any], deployment: Deployment | None
) -> tuple[list[Any], str]:
    from lowtide.backtest.account import LONGEST, recorded_prices
    from lowtide.backtest.jobs import period
    from lowtide.backtest.market_files import tracks_of

    if asked.market == [MODEL]:
        return [], f"the seeded model (seed {asked.seed})"
    if MODEL in asked.market:
        raise Misuse(f"--market {MODEL} stands alone: it is a market of its own")
    named = [name for name in asked.market if name != AWS]
    tracks = tracks_of(named, depth=asked.depth)
    if AWS in asked.market:
        assert deployment is not None
        now = deployment.now()
        first, last = period(jobs)
        span = timedelta(days=asked.days) if asked.days is not None else last - first
        since = first if first >= now - LONGEST else now - min(LONGEST, max(span, timedelta(days=1)))
        found = recorded_prices(deployment.client("ec2"), _type_names(files), since, now)
        if not found:
            names = ", ".join(_type_names(files))
            raise Failure(f"EC2 tells no spot price of {names} in {deployment.region}: is it their Region?")
        tracks += found
    names = [Path(name).name for name in named] + (["EC2's price history"] if AWS in asked.market else [])
    return tracks, ", ".join(names)


def _facts(asked: _Asked, files: Sequence[Any], region: str, deployment: Deployment | None, notes: list[str]) -> Any:
    from lowtide.backtest import types
    from lowtide.backtest.account import types_of
    from lowtide.poolfile.resolve import Facts

    names = _type_names(files)
    if asked.catalogue is not None:
        found = types.of_file(asked.catalogue)
    elif deployment is not None:
        found = types_of(deployment, names)
    else:
        found = types.built_in(names)
        notes.append("on-demand prices are a model's (docs/market.md) where no record has them: see --catalogue")
    return Facts(region=region, listings=found.listings, prices=found.prices, zones_of_subnets={})


def _measured(asked: _Asked, files: Sequence[Any], deployment: Deployment | None, notes: list[str]) -> timedelta | None:
    if asked.jobs != LEDGER or deployment is None:
        return None
    from lowtide.backtest.account import measured_boot

    found = measured_boot(deployment.table, _pool_names(files))
    if found is not None:
        notes.append(f"boot time is the median of the pools' last launches, {found.total_seconds():.0f} s")
    return found


# --- what is shown ----------------------------------------------------------------------------------------------------


def _show(document: dict[str, Any]) -> None:
    from lowtide.backtest.table import rows

    screen = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{document['begin']:%Y-%m-%d} to {document['until']:%Y-%m-%d}", overflow="fold")
    for scenario in document["scenarios"]:
        table.add_column(scenario["name"], justify="right")
    for row in rows(document):
        cells = [f"[bold]{text}[/bold]" if number in row.best else text for number, text in enumerate(row.cells)]
        table.add_row(row.name, *cells)
    screen.print(f"{document['jobs']}, on {document['market']}, {document['region']}", markup=False)
    screen.print(table)
    for note in document["notes"]:
        screen.print(f"Note: {note}.", markup=False)


def _write(place: Path, document: dict[str, Any], *, quiet: bool) -> None:
    from lowtide.backtest.page import page

    try:
        place.write_text(page(document), encoding="utf-8")
    except OSError as error:
        raise Failure(f"{place} cannot be written: {error.strerror}") from error
    if not quiet:
        console().print(f"Wrote {place}: open it in a browser.", markup=False)
