"""Metrics as lines of a log: CloudWatch's Embedded Metric Format (EMF), written by hand.

No CloudWatch client and no metrics library is loaded (docs/adr/0010-logs-and-metrics.md has the figures: 0.2 ms against
10 ms of CPU on top of the 317 ms that a DynamoDB, an SQS and an EC2 client take).

One line of a flush:

    {"_aws": {"Timestamp": 1795447272467, "CloudWatchMetrics": [{"Namespace": "Lowtide",
     "Dimensions": [["Stack", "Pool"]], "Metrics": [{"Name": "RunningInstances", "Unit": "Count"}]}]},
     "Stack": "Lowtide", "Pool": "gpu", "RunningInstances": [2]}
"""

import json
import math
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import TextIO

from lambdas import names

_VALUES_MOST = 100
"""Values of one metric in one line (EMF's limit); the rest goes into a further line."""

_Dimensions = tuple[tuple[str, str], ...]


class Metrics:
    """Collects values and writes them as one line per set of dimensions; nothing is written before `flush`.

    `out` None: standard output as it is at the time of the flush, which Lambda sends to the function's log group."""

    def __init__(self, stack: str, out: TextIO | None = None, *, now: Callable[[], datetime]) -> None:
        self._stack = stack
        self._out = out
        self._now = now
        self._collected: dict[_Dimensions, dict[tuple[str, str], list[float | int]]] = {}

    def put(
        self,
        name: str,
        value: float | Decimal,
        unit: str = "Count",
        *,
        pool: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Adds one sample under Stack, or Stack and Pool, or Stack and Reason; a total and its part are two puts.

        Repeated puts are separate samples: Sum adds them, Maximum and SampleCount see each. `unit` is one of
        CloudWatch's (`Count`, `Seconds`, `None` for money). Raises ValueError for both dimensions at once, and for NaN
        and infinity."""
        if pool is not None and reason is not None:
            raise ValueError(f"{name}: a metric has the dimension Pool or Reason, not both")
        sample = float(value) if isinstance(value, Decimal) else value
        if not math.isfinite(sample):
            raise ValueError(f"{name} is {value}: CloudWatch takes finite numbers")
        dimensions = self._dimensions(pool, reason)
        self._collected.setdefault(dimensions, {}).setdefault((name, unit), []).append(sample)

    def flush(self) -> None:
        """Writes everything collected and forgets it; writes nothing when there is nothing."""
        out = sys.stdout if self._out is None else self._out
        timestamp = int(self._now().timestamp() * 1000)
        collected, self._collected = self._collected, {}
        for dimensions, samples in collected.items():
            for part in _parts(samples):
                out.write(json.dumps(_document(timestamp, dimensions, part)) + "\n")
        out.flush()

    def _dimensions(self, pool: str | None, reason: str | None) -> _Dimensions:
        further = ((names.DIMENSION_POOL, pool), (names.DIMENSION_REASON, reason))
        return ((names.DIMENSION_STACK, self._stack), *((name, value) for name, value in further if value is not None))


def _parts(samples: dict[tuple[str, str], list[float | int]]) -> Iterator[dict[tuple[str, str], list[float | int]]]:
    """The samples cut so that no metric has more values in a part than EMF takes."""
    longest = max(len(values) for values in samples.values())
    for start in range(0, longest, _VALUES_MOST):
        cut = {metric: values[start : start + _VALUES_MOST] for metric, values in samples.items()}
        yield {metric: values for metric, values in cut.items() if values}


def _document(
    timestamp: int, dimensions: _Dimensions, samples: dict[tuple[str, str], list[float | int]]
) -> dict[str, object]:
    directive = {
        "Namespace": names.NAMESPACE,
        "Dimensions": [[name for name, _ in dimensions]],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in samples],
    }
    return {
        "_aws": {"Timestamp": timestamp, "CloudWatchMetrics": [directive]},
        **dict(dimensions),
        **{name: values for (name, _), values in samples.items()},
    }
