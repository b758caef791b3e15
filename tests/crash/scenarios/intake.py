"""What users send is taken in: single messages and batches, good ones and bad ones."""

from dataclasses import replace

from lowtide.sim.functions import Function
from lowtide.sim.hosts import command
from lowtide.sim.world import World
from tests.crash.deployed import send, take_in, world
from tests.crash.scenarios.scenario import Scenario


def prepare_batch() -> World:
    made = world()
    run = {"pool": "cpu", "command": command(20)}
    for body in (
        {"id": "job", **run},
        "not JSON",
        {"id": "job", **run, "slots": 2},
        {"id": "job", **run},
        {"id": "nobody", **run, "pool": "nobody"},
        "x" * 300_000,
    ):
        made.send(body)
    return made


def prepare_new_jobs() -> World:
    """None of them is known: one transaction takes them all."""
    made = world()
    send(made, 3, seconds=20)
    return made


def prepare_batch_again() -> World:
    """The same batch a second time: the first time all was done, but the answer did not get through."""
    made = prepare_batch()
    again = [replace(message) for message in made.sqs.queues[made.jobs_url].messages]
    take_in(made)
    made.sqs.queues[made.jobs_url].messages.extend(again)
    made.held.add(Function.RECONCILE)
    return made


SCENARIOS: dict[str, Scenario] = {
    "intake batch": Scenario(prepare_batch, take_in),
    "new jobs": Scenario(prepare_new_jobs, take_in),
    "batch again": Scenario(prepare_batch_again, take_in),
}
