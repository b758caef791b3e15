"""`lowtide report`: a period of a deployment as one HTML page that needs nothing else."""

from pathlib import Path
from typing import Annotated

import typer

from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Failure, Misuse
from lowtide.cli.moments import instant
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack
from lowtide.cli.output import console, print_json
from lowtide.cli.waiting import ledger_of


def report(
    since: Annotated[str, typer.Option(help="From when: an instant, or 24h for ago.")] = "24h",
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Capacity, shortages with their reasons, jobs, instances and costs as one page; `--json` prints its numbers."""
    from lowtide.report.collect import collect  # the template engine's import is for this verb alone
    from lowtide.report.page import page

    deployment = Deployment(stack)
    now = deployment.now()
    begin = instant("--since", since, now)
    if begin >= now:
        raise Misuse(f"--since {since} is not in the past: write for example 24h, or 2026-11-23T15:00:00Z")
    document = collect(
        deployment.table, ledger_of(deployment), stack=stack, region=deployment.region, since=begin, until=now
    )
    if as_json:
        print_json(document)
        return
    try:
        out.write_text(page(document), encoding="utf-8")
    except OSError as error:
        raise Failure(f"{out} cannot be written: {error.strerror}") from error
    console().print(f"Wrote {out}: open it in a browser.", markup=False)
