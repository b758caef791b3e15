"""Jobs and the workers that run them: claims, results, credentials, leases that a worker does not know any more."""

from dataclasses import replace
from typing import Any

from lambdas import names
from lambdas.adapters import keys
from lowtide.sim.functions import JOB_ROLE, Function
from lowtide.sim.world import World
from tests.crash.deployed import MINUTE, SECOND, cpu, instance_of, jobs, passes, running, send, world
from tests.crash.scenarios.scenario import Scenario
from worker.api import Unanswered


def prepare_claim() -> World:
    made = world()
    made.held.add(Function.WORKER_API)
    send(made, 2, seconds=60)
    assert made.run(lambda: bool(made.alive("cpu")), MINUTE)
    made.run_for(90 * SECOND)
    return made


def claim(of: World) -> None:
    of.held = {Function.TICK}
    of.run(lambda: jobs(of, "running") == 2, 40 * SECOND)


def prepare_finish() -> World:
    made = world()
    send(made, 1, seconds=40)
    send(made, 1, seconds=40, exit_code=1, max_attempts=2)
    assert made.run(lambda: jobs(made, "running") == 2, 5 * MINUTE)
    made.run_for(30 * SECOND)
    return made


def finish(of: World) -> None:
    of.run(lambda: jobs(of, "succeeded") == 1 and not jobs(of, "running"), 40 * SECOND)


def ask_for_credentials(of: World) -> None:
    """As the worker does before a save: until it has an answer."""
    while True:
        try:
            answer = of.worker_calls.call(instance_of(of), names.API_CREDENTIALS, {})
        except Unanswered:
            continue
        assert answer["token"]
        return


def prepare_job_role() -> World:
    made = running()
    pool = made.config.pool("cpu")
    assert pool is not None
    made.config.put_pool(replace(pool, job_role_arn=JOB_ROLE), pool.version, now=made.clock())
    return made


def ask_for_job_credentials(of: World) -> None:
    """As the worker does before an attempt and every three quarters of an hour in it: until it has an answer."""
    (lease,) = of.table.query(keys.pool("cpu"), prefix=keys.leases_of(instance_of(of)))
    while True:
        try:
            body = {"job_id": lease["job_id"], "fence": lease["fence"]}
            answer = of.worker_calls.call(instance_of(of), names.API_JOB_CREDENTIALS, body)
        except Unanswered:
            continue
        assert answer["token"]
        return


def prepare_starved() -> World:
    """Narrow jobs, one after the other, pass over a wide one; the next pass keeps the only instance for that."""
    made = world(cpu(max_instances=1, starvation_after=MINUTE))
    send(made, seconds=200)
    assert made.run(lambda: jobs(made, "running") == 1, 5 * MINUTE)
    send(made, slots=2)
    send(made, 5, seconds=30)
    made.run_for(MINUTE)
    made.held.add(Function.RECONCILE)
    made.run_for(MINUTE)
    assert _kept(made) == []
    return made


def _kept(of: World) -> list[str]:
    return [item["kept_for"] for item in of.stored() if "kept_for" in item]


def prepare_unnamed() -> World:
    """The worker has lost its lease from memory, and says so once."""
    made = running()
    made.run_for(40 * SECOND)
    instance_id = instance_of(made)
    made.hosts.pop(instance_id)
    made.worker_calls.call(instance_id, names.API_HEARTBEAT, {"leases": [], "notice": None})
    return made


def unnamed(of: World) -> None:
    """Its heartbeat until it has an answer; then it ends."""
    while True:
        try:
            of.worker_calls.call(instance_of(of), names.API_HEARTBEAT, {"leases": [], "notice": None})
        except Unanswered:
            continue
        break
    of.market.interrupt(instance_of(of), of.clock(), notice=False)


def prepare_restart() -> World:
    """A claim was answered, but the worker restarted before it began the job."""
    made = prepare_claim()
    made.held = {Function.TICK}
    instance_id = instance_of(made)
    assert made.run(lambda: "reported_at" in _stored(made, instance_id), 20 * SECOND)
    body = {"request_id": "lost", "free_slots": 1, "free_aux_slots": 0, "most": 1}
    if not jobs(made, "running"):
        made.worker_calls.call(instance_id, names.API_CLAIM, body)
    made.hosts[instance_id].attempts.clear()
    return made


def restart(of: World) -> None:
    of.hosts[instance_of(of)].restart()
    of.run_for(20 * SECOND)
    of.held.clear()


def _stored(of: World, instance_id: str) -> dict[str, Any]:
    return of.table.get(keys.pool("cpu"), keys.instance(instance_id)) or {}


SCENARIOS: dict[str, Scenario] = {
    "claim": Scenario(prepare_claim, claim),
    "finish": Scenario(prepare_finish, finish),
    "credentials": Scenario(running, ask_for_credentials),
    "job credentials": Scenario(prepare_job_role, ask_for_job_credentials),
    "starved": Scenario(prepare_starved, passes),
    "unnamed lease": Scenario(prepare_unnamed, unnamed),
    "restarted worker": Scenario(prepare_restart, restart),
}
