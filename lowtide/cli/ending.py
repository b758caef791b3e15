"""How the command line ends: `run` turns every failure into one sentence and an exit code."""

import os
import sys
from typing import NoReturn

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.markup import escape
from typer.exceptions import Abort, TyperException

from lambdas.adapters.table import Fault
from lowtide.cli import ENV_TRACEBACK, STOPPED
from lowtide.cli.errors import FAILED, Failure, sentence


def run() -> None:
    """Runs the verb and exits with its code."""
    try:
        from lowtide.cli.app import app  # here, so that what goes wrong while the verbs are imported is told as well

        code = app(prog_name="lowtide", standalone_mode=False)
    except TyperException as error:
        _misused(error)
    except Abort:
        _end("stopped", FAILED)
    except Failure as error:
        _end(str(error), error.exit_code)
    except (ClientError, BotoCoreError, Fault) as error:
        _end(sentence(error), FAILED)
    except KeyboardInterrupt:
        _end("stopped", STOPPED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(FAILED)
    except Exception as error:
        if os.environ.get(ENV_TRACEBACK):
            raise
        kind = type(error).__name__
        _end(f"this is a fault of Lowtide's own ({kind}: {error}): set {ENV_TRACEBACK}=1 to see where", FAILED)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _misused(error: TyperException) -> NoReturn:
    """What Typer says of wrong words, as a sentence. It says nothing where no verb is given: its help is printed."""
    if not (said := " ".join(error.format_message().split())):
        sys.exit(error.exit_code)
    context = getattr(error, "ctx", None)
    verb = context.command_path if context else "lowtide"
    _end(f"{said[:1].lower()}{said[1:].rstrip('.')}: see `{verb} --help`", error.exit_code)


def _end(message: str, code: int) -> NoReturn:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]lowtide:[/red] {escape(message)}")
    sys.exit(code)
