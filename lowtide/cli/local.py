"""`lowtide local`: the whole system on this machine, with no AWS account."""

from dataclasses import asdict
from typing import Annotated

import typer

from lowtide.cli.errors import Failure
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack
from lowtide.cli.output import console, print_json

app = typer.Typer(help="The local AWS: up, down, status.", no_args_is_help=True)


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", min=0, max=65_535)] = 0,
    pace: Annotated[float, typer.Option(help="How much faster than AWS time passes.", min=1)] = 10.0,
    seed: Annotated[int | None, typer.Option(help="Seed of the market; default: another each time.")] = None,
    deploy: Annotated[bool, typer.Option(help="Deploy Lowtide into it.")] = True,
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Start the local AWS, deploy Lowtide into it, and print what to export."""
    from lowtide import local  # the emulator's imports take a second, which no other verb should wait for

    try:
        running = local.up(port=port, pace=pace, seed=seed, stack=stack, deploy=deploy, say=_say)
    except (local.LocalError, local.DeployFailed) as error:
        raise Failure(str(error)) from error
    _say("For every AWS tool, in any shell:\n")
    print("\n".join(running.exports()))
    if running.deploy_command:
        _say(f"\nTo deploy your own change into it:\n{running.deploy_command}")


@app.command()
def down() -> None:
    """End the local AWS and everything it started."""
    from lowtide import local

    try:
        ended = local.down()
    except local.LocalError as error:
        raise Failure(str(error)) from error
    _say("The local AWS has ended." if ended else "No local AWS was running.")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say what runs."""
    from lowtide import local

    running = local.status()
    if as_json:
        print_json(None if running is None else asdict(running))
    elif running is None:
        _say("No local AWS runs: start one with lowtide local up.")
    else:
        deployed = f"stack {running.stack} deployed" if running.deployed else "nothing deployed"
        _say(f"The local AWS runs at {running.endpoint} (process {running.pid}), pace {running.pace:g}, {deployed}.")
        _say(f"{len(running.processes)} processes of functions and instances run below it.\n")
        print("\n".join(running.exports()))


def _say(text: str) -> None:
    console().print(text, markup=False)
