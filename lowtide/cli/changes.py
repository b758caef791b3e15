"""One change made to several things: each is tried, and what cannot be changed makes the whole fail in the end."""

from collections.abc import Callable, Iterable

from lowtide.cli.errors import Failure
from lowtide.cli.output import console


def make(change: Callable[[str], str], ids: Iterable[str]) -> None:
    """`change` does it to one and says in words what it came to; its Failure keeps no other from being changed."""
    refused: list[str] = []
    for each in ids:
        try:
            console().print(f"{each}: {change(each)}", markup=False)
        except Failure as failure:
            refused.append(str(failure))
    if refused:
        raise Failure("; ".join(refused))
