"""`lowtide drill`: interruptions, prices and shortages on purpose, in the local AWS, with a stop-watch."""

import time
from typing import Annotated, Any

import typer

from lambdas.adapters.pool_config import PoolConfig
from lambdas.domain.durations import parse_duration
from lambdas.domain.pools.pools import Pool
from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Failure, Misuse
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack
from lowtide.cli.output import console, print_json
from lowtide.cli.pool_store import pool_named
from lowtide.drill.market import Market, local_market
from lowtide.drill.real import NO_DRILL, interruption_commands
from lowtide.drill.watch import Drill

app = typer.Typer(help="Trouble on purpose, in the local AWS; how long recovery takes.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Pool name.", metavar="POOL")]
Within = Annotated[str, typer.Option(help="How long each step may take, such as 10m.")]


@app.command()
def interrupt(
    pool: Annotated[str | None, typer.Argument(help="Pool; default: any.", metavar="[POOL]")] = None,
    instance: Annotated[
        str | None, typer.Option(help="The instance to take back; default: one that runs a job.")
    ] = None,
    within: Within = "10m",
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Take back a spot instance that runs a job; how long until its jobs run again.

    In a real account: print the commands of AWS Fault Injection Service that do so, and run nothing."""
    deployment = Deployment(stack)
    if pool is not None:
        pool_named(PoolConfig(deployment.table), pool)
    if (market := local_market()) is None:
        _print_commands(deployment, pool, instance, as_json=as_json)
        return
    drill = _drill(deployment, market, within, as_json=as_json)
    _report(drill.interrupt(pool, instance), "every job runs again", as_json=as_json)


@app.command()
def price(pool: Name, within: Within = "10m", stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """Make a spot pool's types dearer than its limit; how long until it says so, and until it has capacity again."""
    drill, wanted = _shortage(pool, "a spot price", within, stack, as_json=as_json)
    _report(drill.price(wanted), "capacity is back", as_json=as_json)


@app.command()
def capacity(pool: Name, within: Within = "10m", stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """Let there be none of a pool's types; how long until it says so, and until it has capacity again."""
    drill, wanted = _shortage(pool, "what EC2 has", within, stack, as_json=as_json)
    _report(drill.capacity(wanted), "capacity is back", as_json=as_json)


def _shortage(pool: str, what: str, within: str, stack: str, *, as_json: bool) -> tuple[Drill, Pool]:
    if (market := local_market()) is None:
        raise Failure(NO_DRILL.format(what=what))
    deployment = Deployment(stack)
    wanted = pool_named(PoolConfig(deployment.table), pool)
    return _drill(deployment, market, within, as_json=as_json), wanted


def _drill(deployment: Deployment, market: Market, within: str, *, as_json: bool) -> Drill:
    try:
        seconds = parse_duration(within).total_seconds()
    except ValueError as error:
        raise Misuse(f"--within {within!r} is no duration: write for example --within 10m") from error
    deployment.announce()
    return Drill(
        deployment=deployment,
        market=market,
        say=(lambda _: None) if as_json else _say,
        clock=time.monotonic,
        pause=time.sleep,
        within=seconds,
    )


def _print_commands(deployment: Deployment, pool: str | None, instance: str | None, *, as_json: bool) -> None:
    lines = interruption_commands(
        account=deployment.account,
        region=deployment.region,
        stack=deployment.stack,
        pool=pool,
        instance_id=instance,
    )
    if as_json:
        print_json({"drill": "interrupt", "done": False, "commands": lines})
        return
    console().print(
        "This is not the local AWS, so nothing is done. AWS Fault Injection Service interrupts a spot instance as EC2 "
        "would, with its two minutes. Put the name of a role that FIS may use in place of FIS_ROLE, then run:\n",
        markup=False,
    )
    print("\n".join(lines))


def _report(outcome: dict[str, Any], over: str, *, as_json: bool) -> None:
    if as_json:
        print_json(outcome)
    else:
        _say(f"{over}: {outcome['recovered_seconds']} s")


def _say(line: str) -> None:
    console().print(line, markup=False)
