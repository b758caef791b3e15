"""How property tests run here: the same examples every time, and no time limit that a busy machine could break."""

from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings

T = TypeVar("T", bound=Callable[..., None])


def steadily(examples: int = 100) -> Callable[[T], T]:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
