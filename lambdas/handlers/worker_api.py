"""The worker API behind its function URL; called once a minute by a schedule too, which keeps its pulse (pulse.py)."""

from functools import cache
from typing import Any

from lambdas import names
from lambdas.adapters.heartbeats import Heartbeats
from lambdas.adapters.leases import Leases
from lambdas.adapters.pulse import Pulse
from lambdas.adapters.sts import Role
from lambdas.adapters.workers import Workers
from lambdas.control.claiming import Claims
from lambdas.control.credentials import DataCredentials
from lambdas.control.worker_api import WorkerApi
from lambdas.control.worker_http import WorkerHttp
from lambdas.handlers.environment import environment, now, say


@cache
def _worker_http() -> WorkerHttp:
    given = environment()
    leases = Leases(given.table, jobs_kept=given.settings.jobs_kept)
    workers = Workers(given.table)
    credentials = DataCredentials(
        workers=workers,
        role=Role(given.sts, given[names.ENV_DATA_ROLE]),
        bucket=given[names.ENV_BUCKET],
        log_group=given[names.ENV_WORKER_LOGS],
    )
    api = WorkerApi(
        workers=workers,
        leases=leases,
        heartbeats=Heartbeats(given.table, period=given.settings.heartbeat),
        claims=Claims(given.table, leases, given.random),
        doorbell=given.doorbell,
        settings=given.settings,
        now=now,
        random=given.random,
    )
    pulse = Pulse(given.table, given.settings)
    return WorkerHttp(api=api, credentials=credentials, pulse=pulse, roles=given.worker_roles, now=now)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    http = _worker_http()
    if "requestContext" not in event:
        http.pulse.beat(now())
        return None
    reply = http.reply(event, account=context.invoked_function_arn.split(":")[4])
    say(
        "INFO" if reply.status == 200 else "WARNING",
        "worker-api",
        path=reply.path,
        instance_id=reply.instance_id,
        status=reply.status,
        error=reply.body.get("error"),
        leases=len(reply.body["leases"]) if reply.body.get("leases") else None,
    )
    return reply.to_response()
