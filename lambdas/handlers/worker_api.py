"""The worker API behind its function URL; called once a minute by a schedule too, which keeps its pulse (pulse.py)."""

from functools import cache
from typing import Any

from lambdas.adapters.heartbeats import Heartbeats
from lambdas.adapters.leases import Leases
from lambdas.adapters.pulse import Pulse
from lambdas.adapters.workers import Workers
from lambdas.control.claiming import Claims
from lambdas.control.worker_api import WorkerApi
from lambdas.control.worker_http import WorkerHttp
from lambdas.handlers.environment import Environment, environment, say


def worker_http(given: Environment) -> WorkerHttp:
    leases = Leases(given.table, jobs_kept=given.settings.jobs_kept)
    api = WorkerApi(
        workers=Workers(given.table),
        leases=leases,
        heartbeats=Heartbeats(given.table, period=given.settings.heartbeat),
        claims=Claims(given.table, leases, given.random),
        doorbell=given.doorbell,
        settings=given.settings,
        now=given.now,
        random=given.random,
    )
    return WorkerHttp(api=api, pulse=Pulse(given.table, given.settings), roles=given.worker_roles, now=given.now)


@cache
def _worker_http() -> WorkerHttp:
    return worker_http(environment())


def handler(event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    return serve(_worker_http(), event, context)


def serve(http: WorkerHttp, event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    if "requestContext" not in event:
        http.pulse.beat(http.now())
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
