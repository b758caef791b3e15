"""The worker API behind its function URL; called once a minute by a schedule too, which keeps its pulse (pulse.py)."""

import logging
from functools import cache
from typing import Any

from lambdas import names
from lambdas.adapters.heartbeats import Heartbeats
from lambdas.adapters.holdings import Holdings
from lambdas.adapters.leases import Leases
from lambdas.adapters.pulse import Pulse
from lambdas.adapters.sts import Role
from lambdas.adapters.workers import Workers
from lambdas.control.claiming import Claims
from lambdas.control.credentials import DataCredentials
from lambdas.control.job_credentials import JobCredentials
from lambdas.control.worker_api import WorkerApi
from lambdas.control.worker_http import WorkerHttp
from lambdas.handlers.environment import Environment, environment

_log = logging.getLogger(__name__)


def worker_http(given: Environment) -> WorkerHttp:
    leases = Leases(given.table, jobs_kept=given.settings.jobs_kept)
    workers = Workers(given.table)
    credentials = DataCredentials(
        workers=workers,
        role=Role(given.sts, given[names.ENV_DATA_ROLE]),
        bucket=given[names.ENV_BUCKET],
        log_group=given[names.ENV_WORKER_LOGS],
    )
    job_credentials = JobCredentials(
        workers=workers,
        holdings=Holdings(given.table),
        role=lambda arn: Role(given.sts, arn),
        allowed=given.job_roles,
    )
    api = WorkerApi(
        workers=workers,
        leases=leases,
        heartbeats=Heartbeats(given.table, period=given.settings.heartbeat),
        claims=Claims(given.table, leases, given.random),
        doorbell=given.doorbell,
        settings=given.settings,
        now=given.now,
        random=given.random,
    )
    pulse = Pulse(given.table, given.settings)
    return WorkerHttp(
        api=api,
        credentials=credentials,
        job_credentials=job_credentials,
        pulse=pulse,
        metrics=given.metrics,
        roles=given.worker_roles,
        now=given.now,
    )


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
    _log.log(
        logging.INFO if reply.status == 200 else logging.WARNING,
        "worker api",
        extra={
            "path": reply.path,
            "instance_id": reply.instance_id,
            "status": reply.status,
            "error": reply.body.get("error"),
            "leases": len(reply.body.get("leases") or ()),
        },
    )
    return reply.to_response()
