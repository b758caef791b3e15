"""The question before a change: what is asked, when it is not asked, and what an answer other than yes means."""

import sys

import typer

from lowtide.cli.errors import Failure


def confirm(question: str, *, yes: bool) -> None:
    """Returns where the change may be made: `--yes`, no terminal to ask on, or the answer yes. Else raises Failure."""
    if not yes and sys.stdin.isatty() and not typer.confirm(question):
        raise Failure("not confirmed: nothing was changed")
