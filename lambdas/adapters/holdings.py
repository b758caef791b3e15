"""Whether an instance holds a lease, asked without changing anything."""

from lambdas.adapters import keys
from lambdas.adapters.leases import LeaseLost, NotYours
from lambdas.adapters.table import Table


class Holdings:
    def __init__(self, table: Table) -> None:
        self._table = table

    def require(self, pool: str, instance_id: str, job_id: str, fence: int) -> None:
        """Returns where the instance holds this very lease now. Raises LeaseLost, NotYours."""
        place = keys.lease(instance_id, job_id)
        wanted = [(keys.job(job_id), keys.JOB), (keys.pool(pool), place)]
        found = {item["sk"]: item for item in self._table.get_many(wanted)}
        job, lease = found.get(keys.JOB), found.get(place)
        if lease is not None and lease["fence"] == fence:
            return
        if job is None or fence > job["fence"] or (fence == job["fence"] and job["instance_id"] != instance_id):
            raise NotYours(f"job {job_id} was never given to {instance_id} with fence {fence}")
        raise LeaseLost(f"lease {fence} of job {job_id} is over")
