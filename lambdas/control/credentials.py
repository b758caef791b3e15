"""What a worker may touch beside this API: an hour of the data role, for its own pool (docs/worker-api.md)."""

from dataclasses import dataclass
from typing import Any

from lambdas import names
from lambdas.adapters.sts import Role
from lambdas.adapters.workers import Workers
from lambdas.domain.instants import to_text


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCredentials:
    workers: Workers
    role: Role
    bucket: str
    log_group: str

    def lend(self, instance_id: str) -> dict[str, Any]:
        """The pool comes from the table, so that no worker can ask for another's. Raises UnknownInstance, Fault."""
        pool = self.workers.pool_of(instance_id)
        given = self.role.session(instance_id, {names.SESSION_POOL: pool, names.SESSION_INSTANCE: instance_id})
        return {
            "access_key": given.access_key,
            "secret_key": given.secret_key,
            "token": given.token,
            "expires_at": to_text(given.expires_at),
            "bucket": self.bucket,
            "log_group": self.log_group,
        }
