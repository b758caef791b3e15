"""What users do in a storm: they send jobs, and what is none, and change their minds."""

import contextlib
import json
from decimal import Decimal
from typing import Any

from lambdas.adapters.faults import Conflict
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.parked import Parked
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState
from lowtide.sim.clock import START
from lowtide.sim.hosts import command
from lowtide.sim.storm.pools import LIMITS
from lowtide.sim.storm.stage import MINUTE, Stage
from lowtide.sim.storm.story import Arrival, Incident


def arrive(stage: Stage, told: Arrival) -> None:
    """A user sends jobs."""
    body: dict[str, Any] = {"pool": told.pool, "command": command(told.seconds), **_SHAPES[told.shape]}
    if "spot_max_price" in body:
        body["spot_max_price"] = str(LIMITS[told.pool] * body["spot_max_price"])
    if told.shape == len(_SHAPES) - 1:
        body["command"] = command(told.seconds, exit_code=3)
    for _ in range(told.count):
        stage.world.send(body)


_SHAPES: tuple[dict[str, Any], ...] = (
    *({}, {}, {}),
    {"slots": 2},
    {"slots": 0},
    {"resources": {"vcpus": 0.3, "memory_mib": 700}},
    {"priority": 10, "max_interruptions": 1},
    {"spot_max_price": Decimal("0.75")},
    {"on_demand": "never", "timeout": "2m"},
    {"on_demand": "always"},
    {"deadline": f"{START + 20 * MINUTE:%Y-%m-%dT%H:%M:%S}Z", "estimated_duration": "2m"},
    {"max_attempts": 2},
)
"""Fields of a job beside pool and command, prices in the pool's own limit; those of the last one fail. A job of 2 slots
is none that `other` can ever run."""


def no_job(stage: Stage, told: Incident) -> None:
    bodies: tuple[Any, ...] = ("{", {"pool": "nowhere", "command": "true"}, {"pool": told.pool, "command": []}, "[]")
    stage.world.send(bodies[told.number - 1])


def twice(stage: Stage, told: Incident) -> None:
    for _ in range(2):
        stage.world.send({"pool": told.pool, "command": command(20), "id": f"twice-{told.second}"})


def backlog(stage: Stage, told: Incident) -> None:
    for _ in range(5 * told.number):
        stage.world.send({"pool": told.pool, "command": command(5 * told.number)})


def jobs_of(stage: Stage, name: str, *states: JobState) -> list[JobRecord]:
    found = [job for job in stage.seen.jobs.values() if job.pool == name and job.state in states]
    return sorted(found, key=lambda each: each.job_id)


def cancel(stage: Stage, told: Incident) -> None:
    ledger = Ledger(stage.world.table, jobs_kept=stage.world.settings.jobs_kept)
    for job in jobs_of(stage, told.pool, JobState.QUEUED, JobState.RUNNING)[: told.number]:
        ledger.cancel(job, stage.world.clock())


def retry(stage: Stage, told: Incident) -> None:
    ledger = Ledger(stage.world.table, jobs_kept=stage.world.settings.jobs_kept)
    for job in jobs_of(stage, told.pool, JobState.FAILED, JobState.CANCELLED)[: told.number]:
        with contextlib.suppress(Conflict):
            ledger.retry(job, 1, stage.world.clock())


def redrive(stage: Stage, told: Incident) -> None:
    """As `parked redrive`: the message is sent again under its id, then its record goes."""
    parked = Parked(stage.world.table)
    for message in list(parked.list())[: told.number]:
        found = parked.record(message.parked_id)
        if found is None or found.body is None:
            continue
        with contextlib.suppress(ValueError):
            body: Any = json.loads(found.body)
            if isinstance(body, dict):
                message_id = message.parked_id.rpartition("#")[2]
                stage.world.send({"id": message_id, **body})
                stage.world.redriven(message_id)
                parked.delete(message.parked_id)
