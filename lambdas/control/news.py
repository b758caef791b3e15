"""EC2's news about one instance: recorded, and its pool rung. News about instances that are not ours is dropped by one
read; only a warning for an unknown id is kept for a while, since the instance may be ours and not recorded yet.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lambdas import names
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.observations import Known, Observations
from lambdas.control.doorbell import Doorbell
from lambdas.domain.fleet import observed
from lambdas.domain.fleet.ec2_events import Ignored, InterruptionWarned, News, RebalanceAdvised, StateChanged, parse
from lambdas.domain.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Newsroom:
    """What recording news needs."""

    observations: Observations
    doorbell: Doorbell
    metrics: Metrics
    settings: Settings
    now: Callable[[], datetime]


def take_in(room: Newsroom, event: Any) -> None:
    """Record an event's news. May be repeated, late and out of order. Raises Unavailable: then EventBridge delivers it
    again, twice within three minutes.

    The pool is rung even when the record said so already: the delivery that wrote it may have died before ringing."""
    news = parse(event)
    if isinstance(news, Ignored):
        _log.log(logging.DEBUG if news.expected else logging.WARNING, "no news", extra={"why": news.why})
        return
    known = room.observations.known(news.instance_id)
    if known is None:
        _keep(room, news)
        return
    interrupted = _record(room, known, news)
    room.doorbell.ring(known.pool, news.event_id)
    if interrupted:
        room.metrics.put(names.METRIC_INTERRUPTIONS, 1)
        room.metrics.put(names.METRIC_INTERRUPTIONS, 1, pool=known.pool)
    _log.info(
        "news",
        extra={
            **{"news": type(news).__name__, "instance_id": news.instance_id, "pool": known.pool},
            **{"event_id": news.event_id, "interruption": interrupted},
        },
    )


def _keep(room: Newsroom, news: News) -> None:
    """A warning for an unknown id waits for the tick that adopts the instance, or meets it recorded by then."""
    if isinstance(news, InterruptionWarned):
        until = room.now() + room.settings.warning_memory
        room.observations.remember_warning(news.instance_id, news.at + room.settings.warning_lead, until=until)


def _record(room: Newsroom, known: Known, news: News) -> bool:
    """True: an interruption that was not known before."""
    now = room.now()
    match news:
        case InterruptionWarned():
            ends_at = news.at + room.settings.warning_lead
            return room.observations.announce_end(known, ends_at, why=observed.INTERRUPTED, now=now) is not None
        case RebalanceAdvised():
            room.observations.advise_rebalance(known, news.at)
            return False
        case StateChanged():
            changed = room.observations.record_state(known, news.state, at=news.at, now=now)
            return changed is not None and observed.was_interrupted(changed.instance, was_draining=changed.was_draining)
