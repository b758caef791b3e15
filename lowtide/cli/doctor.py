"""`lowtide doctor`: what would be in the way of a deployment or a launch, before it is."""

from pathlib import Path
from typing import Annotated

import typer

from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Failure
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack
from lowtide.cli.output import console, print_json
from lowtide.cli.pool_apply import read_file, tell
from lowtide.poolfile.load import PoolFile

_MARKS = {"ok": "[green]ok     [/green]", "warning": "[yellow]warning[/yellow]", "failure": "[red]failure[/red]"}


def doctor(
    pools: Annotated[
        Path | None,
        typer.Option("--pools", help="Look at the pools of this file instead of the stack's.", dir_okay=False),
    ] = None,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Look for what would make a launch fail: credentials, account, quotas, what each pool names, a dry run of each.

    Nothing is changed or launched. Exit 1 if a launch (before a deployment: a deployment) would fail."""
    from lowtide.doctor.examination import examine
    from lowtide.doctor.findings import Finding, document, fails

    file = None if pools is None else _valid(pools)
    deployment = Deployment(stack)
    findings: list[Finding] = []
    for finding in examine(deployment, file):
        findings.append(finding)
        if not as_json:
            _say(finding.status.value, finding.check, finding.pool, finding.what, finding.why, finding.remedy)
    if as_json:
        print_json(
            {
                **{"stack": deployment.stack, "region": _region(deployment), "as_of": deployment.now()},
                **{"works": not fails(findings)},
                "findings": [document(finding, deployment.now()) for finding in findings],
            }
        )
    if fails(findings):
        raise typer.Exit(1)


def _valid(path: Path) -> PoolFile:
    file = read_file(path)
    if file.problems:
        tell(file)
        raise Failure(f"{path} is not a valid pool file: see `lowtide pools validate {path}`")
    return file


def _region(deployment: Deployment) -> str | None:
    try:
        return deployment.region
    except Failure:
        return None


def _say(status: str, check: str, pool: str | None, what: str, why: str, remedy: str) -> None:
    from rich.markup import escape

    about = f"{pool}: {check}" if pool else check
    console().print(f"{_MARKS[status]} {escape(about)}: {escape(what)}")
    if why:
        console().print(f"          {why}", markup=False)
    if remedy:
        console().print(f"          do: {remedy}", markup=False)
