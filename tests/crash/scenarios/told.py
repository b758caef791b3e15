"""People and other programs are told, from the table's stream: of jobs' changes and of a lasting shortage."""

import json
from typing import Any

from lambdas import names
from lambdas.adapters import keys
from lowtide.market import catalogue
from lowtide.market.model import Offering
from lowtide.sim.functions import TABLE, Crashed, Function
from lowtide.sim.world import World
from tests.crash.deployed import (
    CPU,
    MINUTE,
    OTHER,
    SECOND,
    cpu,
    facts,
    send,
    taken_in,
    world,
)
from tests.crash.scenarios.scenario import Scenario
from tests.market.worlds import REGION, Steady


def prepare_many_jobs() -> World:
    """More than one call tells of."""
    made = world()
    send(made, 12, seconds=5)
    taken_in(made)
    made.held.clear()
    return made


def tell_changes(of: World) -> None:
    """As Lambda reads the table's stream: what was not told on comes again, also after a function's death."""
    records = job_changes(of)
    while records:
        try:
            answer = of.invoke(Function.JOB_EVENTS, {"Records": records})
        except Crashed:
            continue
        first = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        records = records[numbers.index(first[0]) :] if first else []
    told = [json.loads(entry["Detail"])["job_id"] for entry in of.events.told]
    assert set(told) == {item["job_id"] for item in of.stored() if item["sk"] == keys.JOB}


def prepare_shortage() -> World:
    """A pool lacks instances for longer than its owner tolerates, and no function told of it yet."""
    offerings = {Offering(CPU, zone): 0 for zone in catalogue.offered(REGION)[CPU]}
    made = world(cpu(unfulfilled_alarm_after=SECOND), conditions=Steady(capacities=offerings))
    send(made)
    made.run_for(3 * MINUTE)
    assert state_of(made)["alarmed"]["M"]["class"] == {"S": "capacity"}
    return made


def tell_shortage(of: World) -> None:
    """The bus and people are told, each by a function of its own, as Lambda reads the table's stream for each."""
    records = [change_of(of, state_of(of), "1")]
    for function in (Function.JOB_EVENTS, Function.NOTICES):
        failed = True
        while failed:
            try:
                failed = bool(of.invoke(function, {"Records": records})["batchItemFailures"])
            except Crashed:
                continue
    assert {entry["DetailType"] for entry in of.events.told} == {names.EVENT_POOL_SHORTAGE}
    assert 1 <= len(of.sns.published) <= 2, "once, and once more after a crash"


def state_of(of: World) -> dict[str, Any]:
    place = {"pk": {"S": keys.pool("cpu")}, "sk": {"S": keys.STATE}}
    [state] = [item for item in of.dynamodb.everything(TABLE) if place.items() <= item.items()]
    return state


def another_type(of: World) -> None:
    """The owner does what the reason says."""
    of.apply(cpu(types=(facts(OTHER, 1),)))


def job_changes(of: World) -> list[dict[str, Any]]:
    """A stream record for each job as it is now."""
    items = [item for item in of.dynamodb.everything(TABLE) if item["sk"]["S"] == keys.JOB]
    return [change_of(of, item, str(number)) for number, item in enumerate(items)]


def change_of(of: World, item: dict[str, Any], number: str) -> dict[str, Any]:
    """The stream record of an item that was not there before."""
    return {
        "eventName": "INSERT",
        "dynamodb": {
            "ApproximateCreationDateTime": of.clock().timestamp(),
            "SequenceNumber": number,
            "Keys": {name: item[name] for name in ("pk", "sk")},
            "NewImage": item,
        },
    }


SCENARIOS: dict[str, Scenario] = {
    "job events": Scenario(prepare_many_jobs, tell_changes),
    "lasting shortage": Scenario(prepare_shortage, tell_shortage, afterwards=another_type),
}
