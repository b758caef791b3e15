"""`lowtide demo`: everything, for real, on this machine, in a few minutes."""

from pathlib import Path
from typing import Annotated

import typer

from lowtide.cli.errors import Failure


def demo(
    seed: Annotated[int, typer.Option(help="Seed of the market and of the jobs.")] = 1,
    report: Annotated[Path, typer.Option(help="Where to write the report as JSON.")] = Path("demo-report.json"),
) -> None:
    """Deploy Lowtide into the local AWS, run real jobs through interruptions and shortages, and report."""
    from lowtide.demo.run import run  # the emulator's imports take a second, which no other verb should wait for
    from lowtide.local import DeployFailed

    try:
        held = run(seed=seed, report_path=report)
    except DeployFailed as error:
        raise Failure(str(error)) from error
    raise typer.Exit(0 if held else 1)
