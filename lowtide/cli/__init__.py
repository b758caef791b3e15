"""The `lowtide` command. Verbs are in a file each; nothing is imported here that takes time, so that Ctrl-C is heeded
from the first moment on."""

import sys

ENV_TRACEBACK = "LOWTIDE_TRACEBACK"
"""Set: a bug ends in its traceback instead of a sentence."""
STOPPED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""


def main() -> None:
    """The entry point: runs the verb and exits with its code."""
    try:
        from lowtide.cli.ending import run
    except KeyboardInterrupt:
        sys.stderr.write("lowtide: stopped\n")
        sys.exit(STOPPED)
    run()
