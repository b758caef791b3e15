"""What a job may touch in AWS: an hour of its pool's `job_role_arn`, for who holds the job (docs/worker-api.md).

The API takes the role and not the worker, so that no instance has a right to any job's role: what it gets is bound to a
lease, and ends.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from lambdas import names
from lambdas.adapters.holdings import Holdings
from lambdas.adapters.sts import Denied, Role
from lambdas.adapters.workers import Workers
from lambdas.control.worker_calls import JobCredentialsCall
from lambdas.domain.instants import to_text

LONGEST_SESSION_NAME = 64
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_+=,.@-]")


class NoJobRole(Exception):
    """The pool's jobs cannot have credentials until somebody changes something; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCredentials:
    workers: Workers
    holdings: Holdings
    role: Callable[[str], Role]
    """A role by its ARN."""
    allowed: Collection[str]
    """ARNs of the roles that the deployment lets this function take."""

    def lend(self, instance_id: str, call: JobCredentialsCall) -> dict[str, Any]:
        """Pool and role come from the table. Raises NoJobRole, UnknownInstance, LeaseLost, NotYours, Fault."""
        pool = self.workers.seat(instance_id).pool
        self.holdings.require(pool.name, instance_id, call.job_id, call.fence)
        arn = pool.job_role_arn
        if arn is None:
            raise NoJobRole(f"pool {pool.name} has no job_role_arn any more")
        if arn not in self.allowed:
            raise NoJobRole(f"the stack may not take {arn}: deploy it with -c job_roles={arn}")
        tags = {names.SESSION_POOL: pool.name, names.SESSION_JOB: call.job_id}
        try:
            given = self.role(arn).session(session_name(call.job_id), tags)
        except Denied as denied:
            raise NoJobRole(
                f"{arn} does not let the stack in: its trust policy has to allow sts:AssumeRole and sts:TagSession to "
                f"the stack's output {names.OUTPUT_JOB_ROLE_PRINCIPAL_ARN}"
            ) from denied
        return {
            "access_key": given.access_key,
            "secret_key": given.secret_key,
            "token": given.token,
            "expires_at": to_text(given.expires_at),
        }


def session_name(job_id: str) -> str:
    """`job-train-7`: what CloudTrail shows. Never an instance's id, by which the API would know a worker."""
    return f"job-{_NOT_IN_A_NAME.sub('-', job_id)}"[:LONGEST_SESSION_NAME]
