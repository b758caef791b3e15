"""What is wrong with a file that a backtest was given: the file, its line and the field, in one sentence."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError


class WrongFile(ValueError):
    """`str()` says the file, the line where the format has lines, the field, what is wrong and what it takes."""


class WrongField(ValueError):
    """Raised where a value is read; `wrong_at` puts file and line before it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)


@contextmanager
def wrong_at(path: Path, line: int | None = None) -> Generator[None]:
    """Turns whatever a value's reader raises into WrongFile with its place."""
    try:
        yield
    except WrongFile:
        raise
    except (OSError, EOFError) as error:
        raise WrongFile(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except ValueError as error:
        place = f"{path}, line {line}" if line is not None else str(path)
        raise WrongFile(f"{place}: {told(error)}") from error


def told(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        field, said = ".".join(map(str, first["loc"])), str(first["msg"]).removeprefix("Value error, ")
        return f"{field}: {said}" if field else said
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "is not text in UTF-8"
    return str(error)


def line_of(text: str, key: str, number: int = 0) -> int:
    """The line on which a key of a JSON text stands for the so-many-th time; 1 where it does not."""
    at = -1
    for _ in range(number + 1):
        at = text.find(json.dumps(key), at + 1)
        if at < 0:
            return 1
    return text.count("\n", 0, at) + 1


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
