"""Options that several verbs share, with one spelling and one help text."""

from typing import Annotated

import typer

from lambdas import names
from lowtide.cli.connection import ENV_STACK

Stack = Annotated[str, typer.Option("--stack", envvar=ENV_STACK, help="Name of the deployed stack.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
All = Annotated[bool, typer.Option("--all", help="Every pool of the deployment.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

DEFAULT_STACK = names.STACK
