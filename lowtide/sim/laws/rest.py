"""The laws that hold once everything has settled: 1, 5, 7 and 10; and 8, of what the whole course shows."""

from collections.abc import Iterator
from datetime import timedelta

from lambdas.adapters import job_items, keys
from lambdas.adapters.table import Item
from lambdas.domain.instants import from_text
from lowtide.sim.calls import Request
from lowtide.sim.functions import Function
from lowtide.sim.laws.ledger import Ledger
from lowtide.sim.laws.standing import Violation, standing
from lowtide.sim.world import World

AFTERWARDS = 2
"""Law 10: further ticks that must change nothing."""


def at_rest(world: World) -> list[Violation]:
    """Call it when the world says that it is quiet. Plays a few more ticks."""
    ledger = Ledger(world)
    return [*standing(world), *_all_done(world, ledger), *_agree(world, ledger), *_nothing_more(world)]


def _all_done(world: World, ledger: Ledger) -> Iterator[Violation]:
    """Law 7: every job has ended, every pool is at its minimum and its state at rest."""
    for job in ledger.jobs.values():
        if job.state not in job_items.ENDED:
            yield Violation(law=7, evidence=f"{job.job_id} is still {job.state}")
    for pool in world.config.pools():
        if (count := len(world.alive(pool.name))) != pool.min_instances:
            yield Violation(law=7, evidence=f"{pool.name} has {count} instances; its minimum is {pool.min_instances}")
    for pool, state in ledger.states.items():
        if "gpk" in state or "dirty" in state:
            yield Violation(law=7, evidence=f"the state of {pool} is not at rest")


def _agree(world: World, ledger: Ledger) -> Iterator[Violation]:
    """Laws 1 and 5: what is recorded is there and what is there is recorded; nothing is left open."""
    alive = {instance.instance_id for instance in world.alive()}
    if alive != ledger.instances.keys():
        differ = sorted(alive ^ ledger.instances.keys())
        yield Violation(law=5, evidence=f"EC2 and the table differ on {differ}")
    for intention in ledger.intentions.values():
        yield Violation(law=7, evidence=f"intention {intention.intention_id} of {intention.pool} is still open")
    copies = {message.message_id for message in world.sqs.queues[world.parked_url].messages}
    for record, item in ledger.parked.items():
        if item.get("copy_id") not in copies and item.get("job_id") not in ledger.jobs:
            yield Violation(law=1, evidence=f"parked record {record} has no copy in the parked queue")


def _nothing_more(world: World) -> Iterator[Violation]:
    """Laws 7 and 10: further ticks, one of them delivered twice, leave everything as it is."""
    before, actions = _lasting(world), _Actions()
    world.observers.append(actions)
    for number in range(AFTERWARDS):
        world.tick(f"afterwards-{number}")
        world.tick(f"afterwards-{number}")
        world.run_for(timedelta(minutes=1))
    world.observers.remove(actions)
    if actions.made:
        yield Violation(law=10, evidence=f"ticks at rest made {sorted(set(actions.made))}")
    changed = [item["pk"] + " " + item["sk"] for item in _lasting(world) if item not in before]
    if changed or len(before) != len(_lasting(world)):
        yield Violation(law=10, evidence=f"ticks at rest changed {changed}")


class _Actions:
    """Calls that change the outside: launches, ends, messages."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def called(self, function: Function, operation: str, request: Request) -> None:  # noqa: ARG002 - the observer's
        if operation in ("ec2.create_fleet", "ec2.terminate_instances", "sqs.send_message", "sqs.send_message_batch"):
            self.made.append(operation)

    def ended(self, function: Function, *, crashed: bool) -> None: ...


def _lasting(world: World) -> list[Item]:
    """The table without what only says that the control plane lives, without idle workers' signs of life, and without
    the warnings that EC2 sends about strangers."""
    return [item for item in world.stored() if item["pk"] != keys.STACK and not item["pk"].startswith("NEWS#")]


def waited_at_most(world: World, pool: str, most: timedelta) -> list[Violation]:
    """Law 8: no job of this pool waited longer for its first attempt, whatever happened to others."""
    late: list[Violation] = []
    for item in world.stored():
        if item["sk"] == keys.JOB and item["pool"] == pool:
            begun = from_text(item["started_at"]) if "started_at" in item else world.clock()
            if (waited := begun - from_text(item["submitted_at"])) > most:
                late.append(Violation(law=8, evidence=f"{item['job_id']} of {pool} waited {waited}"))
    return late
