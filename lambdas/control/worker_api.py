"""The worker API's five calls (docs/worker-api.md), from a parsed body to an answer. HTTP is in worker_http.py."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Protocol

from lambdas.adapters.heartbeats import Heartbeats, NoticeKind
from lambdas.adapters.leases import Granted, Leases
from lambdas.adapters.workers import Seat, Workers
from lambdas.control.claiming import Claimed, Claims
from lambdas.control.worker_calls import Claim, Finish, Heartbeat, Hello, Release
from lambdas.domain.fleet.fleet import InstanceState, facts_of
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.fit import devices
from lambdas.domain.settings import Settings

Answer = dict[str, Any]

IDLE_GROWTH = 4
"""An idle worker waits a quarter of the time that it has been idle: 2 s in the first 8 s, 15 s after a minute."""
CALLERS_A_POLL = 20
"""A pool's idle workers together claim at most so often per `poll_first`: 10 times a second."""
SPREAD = 0.1
"""Each wait is made up to this part longer or shorter, so that workers that started together part."""
_UNNAMED = "the worker does not run it: two heartbeats in a row did not name it"


class Bell(Protocol):
    def ring(self, pool: str, cause: str) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerApi:
    """Every call names the instance that makes it. Raises UnknownInstance, LeaseLost, NotYours, Unavailable."""

    workers: Workers
    leases: Leases
    heartbeats: Heartbeats
    claims: Claims
    doorbell: Bell
    settings: Settings
    now: Callable[[], datetime]
    random: Random

    def hello(self, instance_id: str, call: Hello) -> Answer:
        seat = self.workers.seat(instance_id)
        self.workers.report(seat, self.now())
        self.doorbell.ring(seat.pool.name, f"hello:{instance_id}:{call.boot_id}")
        held = self.leases.of(seat.pool.name, instance_id) if seat.leases else []
        return {
            "pool": seat.pool.name,
            "slots": seat.instance.slots,
            "aux_slots": seat.pool.max_aux_containers_per_agent,
            "settings": self._settings(),
            "leases": [_lease(granted, seat) for granted in self.leases.details(held)],
        }

    def _settings(self) -> Answer:
        return {
            "heartbeat_seconds": self.settings.heartbeat.total_seconds(),
            "notice_poll_seconds": self.settings.notice_poll.total_seconds(),
            "checkpoint_seconds": self.settings.checkpoint.total_seconds(),
            "reserve_least_seconds": self.settings.save_reserve_least.total_seconds(),
            "reserve_most_seconds": self.settings.save_reserve_most.total_seconds(),
            "idle_power_off_seconds": self.settings.idle_power_off.total_seconds(),
            "running_power_off_seconds": self.settings.running_power_off.total_seconds(),
        }

    def claim(self, instance_id: str, call: Claim) -> Answer:
        seat = self.workers.seat(instance_id)
        now = self.now()
        self.workers.report(seat, now)
        claimed = self.claims.claim(seat, call, now)
        draining = seat.instance.state == InstanceState.DRAINING
        return {
            "leases": [_lease(granted, seat) for granted in claimed.granted],
            "next_call_seconds": self._wait(seat, claimed, now).total_seconds(),
            "drain": draining,
            "power_off": draining and not seat.leases and not claimed.granted,
        }

    def _wait(self, seat: Seat, claimed: Claimed, now: datetime) -> timedelta:
        """Until the next claim: short while jobs come, longer the longer none came and the more workers ask. One that
        takes auxiliary jobs alone asks as seldom as it beats: most of its calls would be in vain."""
        most = self.settings.poll_most
        first = self.settings.heartbeat if claimed.spent else self.settings.poll_first
        busy = bool(claimed.granted) or claimed.raced
        idle = timedelta() if busy else (now - seat.turned_at) / IDLE_GROWTH
        crowd = self.settings.poll_first * seat.fleet / CALLERS_A_POLL
        return min(max(first, idle, crowd), most) * self.random.uniform(1 - SPREAD, 1 + SPREAD)

    def heartbeat(self, instance_id: str, call: Heartbeat) -> Answer:
        pool, now = self.workers.pool_of(instance_id), self.now()
        heard = self.heartbeats.beat(pool, instance_id, call.notice, now)
        renewal = self.heartbeats.renew(pool, instance_id, call.leases, now, call.standings)
        if call.notice is not None:
            self.doorbell.ring(pool, f"{call.notice.kind}:{instance_id}:{to_text(call.notice.at)}")
        for lease in renewal.unnamed:
            self.leases.take_back(lease.job_id, instance_id, lease.fence, _UNNAMED, now, renewed_at=lease.renewed_at)
            self.doorbell.ring(pool, f"unnamed:{lease.job_id}:{lease.fence}")
        return {
            "stop": [*_stops(renewal.lost, "lease-lost"), *_stops(renewal.moving, "interrupted")],
            "drain": heard.draining,
            "notice": heard.ends_at and {"kind": NoticeKind.INTERRUPTION.value, "at": to_text(heard.ends_at)},
            "next_call_seconds": self.settings.heartbeat.total_seconds(),
        }

    def finish(self, instance_id: str, call: Finish) -> Answer:
        pool = self.workers.pool_of(instance_id)
        state = self.leases.finish(
            pool,
            instance_id,
            call.job_id,
            call.fence,
            call.result,
            self.now(),
            at_once=self.settings.failed_at_once,
        )
        self.doorbell.ring(pool, f"finish:{call.job_id}:{call.fence}")
        return {"state": state.value}

    def release(self, instance_id: str, call: Release) -> Answer:
        pool = self.workers.pool_of(instance_id)
        state = self.leases.release(pool, instance_id, call.job_id, call.fence, call.reason, self.now())
        self.doorbell.ring(pool, f"release:{call.job_id}:{call.fence}")
        return {"state": state.value}


def _stops(leases: Iterable[tuple[str, int]], reason: str) -> list[Answer]:
    return [{"job_id": job, "fence": fence, "reason": reason} for job, fence in leases]


def _lease(granted: Granted, seat: Seat) -> Answer:
    spec, job, lease = granted.spec, granted.job, granted.lease
    facts = facts_of(seat.instance, seat.pool)
    return {
        **{"job_id": job.job_id, "fence": lease.fence, "attempt": job.attempts, "pool": job.pool},
        **{"slots": lease.slots, "resources": lease.resources and lease.resources.to_document()},
        "gpus": lease.slots if facts is None else devices(lease.slots, lease.resources, facts),
        **{"command": list(spec.command), "env": dict(spec.env)},
        **{"image": spec.image, "secrets": dict(spec.secrets), "job_role": seat.pool.job_role_arn is not None},
        "inputs": [each.to_document() for each in spec.inputs],
        "timeout_seconds": None if spec.timeout is None else spec.timeout.total_seconds(),
        "used_seconds": float(job.used_seconds),
    }
