"""FIFO message groups side by side.

Stock ministack gives a FIFO queue one batch at a time, whatever its groups: a slow group blocks all others, and one
failed batch holds up the whole mapping for a second. On AWS a mapping works on as many batches as there are groups
in flight; within a group, order holds because SQS hands out nothing of a group that is in flight.
"""

from collections.abc import Mapping
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements

SIDE_BY_SIDE = 10
"""Batches of one FIFO queue at once where the mapping sets no MaximumConcurrency: each may cost a process here."""
_BACKOFF_SECONDS = 0.05
"""A failed batch is out of sight for its visibility timeout anyway, so polling on cannot spin."""


def install(replacements: Replacements) -> None:
    functions = upstream("services.lambda_svc")
    stock = functions._sqs_esm_concurrency

    def concurrency(esm: Mapping[str, Any], func_rec: Any, config: Any, queue: Mapping[str, Any] | None = None) -> int:
        if not (queue or {}).get("is_fifo"):
            return stock(esm, func_rec, config, queue)
        limit = (esm.get("ScalingConfig") or {}).get("MaximumConcurrency") or SIDE_BY_SIDE
        reserved = functions._reserved_concurrency(func_rec, config)
        return limit if reserved is None else min(limit, reserved)

    replacements.replace(functions, "_sqs_esm_concurrency", concurrency)
    replacements.replace(functions, "_ESM_BACKOFF_SECONDS", _BACKOFF_SECONDS)
