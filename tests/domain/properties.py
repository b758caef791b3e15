"""How property tests run here: the same examples every time, and no time limit that a busy machine could break."""

from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings

T = TypeVar("T", bound=Callable[..., None])


def steadily(examples: int = 100) -> Callable[[T], T]:
    """Hypothesis also draws constants of whatever modules a test process has loaded, so how many examples an `assume`
    leaves out differs from process to process, and says nothing of the test."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
