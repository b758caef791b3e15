"""From a message to a pass, and what becomes of a pass that fails: no pool's error is ever another pool's."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from lambdas import names
from lambdas.control.pass_report import Metrics
from lambdas.control.reconcile import Reconciler
from lambdas.domain.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    reconciler: Reconciler
    metrics: Metrics
    settings: Settings
    now: Callable[[], datetime]

    def take(self, body: str, time_left: Callable[[], timedelta]) -> None:
        """One pass for one message. Raises only when the failure itself could not be noted: then the queue delivers the
        message again."""
        pool = _pool(body)
        if pool is None:
            _log.error("a message that names no pool was dropped", extra={"body": body[:1000]})
            return
        try:
            self.reconciler.reconcile(pool, time_left)
        except Exception:  # whatever it is, bugs included: it is logged, counted, and the pool is looked at again
            _log.exception("pass failed", extra={"pool": pool})
            self.metrics.put(names.METRIC_PASSES_FAILED, 1)
            self.reconciler.pools.due_at(pool, self.now() + self.settings.look_again / 2)
        finally:
            self.metrics.flush()


def _pool(body: str) -> str | None:
    try:
        pool = json.loads(body)["pool"]
    except (ValueError, KeyError, TypeError):
        return None
    return pool if isinstance(pool, str) and pool else None
