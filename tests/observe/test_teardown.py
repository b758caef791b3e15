"""Deleting the stack ends every instance first, and CloudFormation always gets its answer."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import cfn_answer, keys
from lambdas.adapters.launch_table import Closing as LaunchesStopped
from lambdas.adapters.launch_table import LaunchTable
from lambdas.adapters.table import Table
from lambdas.control.teardown import Request, Result, physical_id, respond
from lambdas.handlers import teardown as handler_module
from tests.observe.conftest import MINUTE, World
from tests.observe.scripted_ec2 import tags

LONG = timedelta(minutes=15)


def delete(world: World, **asked: str) -> Result:
    """A deletion with 15 minutes on the world's clock."""
    until = world.clock() + LONG
    return respond(world.closing(), Request(type="Delete", **asked), lambda: until - world.clock())


def test_closing_stops_launches(world: World) -> None:
    delete(world)
    world.table.put({"pk": keys.pool("gpu"), "sk": keys.STATE, "epoch": 1})
    intention = world.intend()
    world.table.delete(keys.pool("gpu"), keys.intent("d-1"))
    with pytest.raises(LaunchesStopped):
        LaunchTable(world.table).intend(intention, 1)


def test_every_instance_of_the_stack_ends_and_no_other(world: World) -> None:
    world.run("i-1", ends_after=3)
    world.run("i-2", tags=tags("nowhere"))
    world.run("i-3", tags=tags("gpu", stack="Another"))
    assert delete(world).succeeded
    assert {name: machine.state for name, machine in world.ec2.machines.items()} == {
        **{"i-1": "terminated", "i-2": "terminated"},
        "i-3": "running",
    }


def test_an_instance_that_already_ends_is_waited_for_and_not_asked_again(world: World) -> None:
    world.run("i-1", state="shutting-down", ends_after=4)
    assert delete(world).succeeded
    assert world.ec2.terminated == []
    assert world.ec2.machines["i-1"].state == "terminated"


def test_an_instance_that_describe_does_not_list_yet_is_ended_too(world: World) -> None:
    machine = world.run("i-1", listed=False)
    world.record("i-1")
    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        world.clock.advance(timedelta(seconds=seconds))
        machine.listed = len(looks) >= 4

    until = world.clock() + LONG
    assert respond(world.closing(pause), Request(type="Delete"), lambda: until - world.clock()).succeeded
    assert machine.state == "terminated"


def test_a_call_without_an_answer_is_waited_for(world: World) -> None:
    """Its instance appears a minute after the stack began to go."""
    world.intend()
    appears = world.clock() + MINUTE

    def pause(seconds: float) -> None:
        world.clock.advance(timedelta(seconds=seconds))
        if world.clock() >= appears and "i-late" not in world.ec2.machines:
            world.run("i-late")

    until = world.clock() + LONG
    assert respond(world.closing(pause), Request(type="Delete"), lambda: until - world.clock()).succeeded
    assert world.ec2.machines["i-late"].state == "terminated"


def test_one_look_that_finds_nothing_is_not_believed(world: World) -> None:
    def pause(seconds: float) -> None:
        world.clock.advance(timedelta(seconds=seconds))
        if "i-late" not in world.ec2.machines:
            world.run("i-late")

    until = world.clock() + LONG
    assert respond(world.closing(pause), Request(type="Delete"), lambda: until - world.clock()).succeeded
    assert world.ec2.machines["i-late"].state == "terminated"


def test_a_record_of_an_instance_long_gone_holds_nothing_up(world: World) -> None:
    world.record("i-1", launched_at=world.clock() - MINUTE * 60)
    before = world.clock()
    assert delete(world).succeeded
    assert world.clock() - before < MINUTE


def test_what_does_not_end_in_time_is_named_with_ec2s_reason(world: World) -> None:
    world.run("i-1")
    world.ec2.refuse_to_end = "UnauthorizedOperation"
    began = world.clock()
    result = delete(world)
    assert not result.succeeded
    assert result.reason == (
        "1 instances have not ended: i-1. EC2 refused: UnauthorizedOperation. End them, then delete the stack again."
    )
    assert world.clock() - began < LONG


def test_a_deletion_may_be_repeated(world: World) -> None:
    world.run("i-1")
    assert delete(world).succeeded
    closed = world.item(keys.STACK, keys.CONTROL)
    assert delete(world).succeeded
    assert world.item(keys.STACK, keys.CONTROL) == closed


def test_a_stack_whose_table_is_gone_is_still_emptied(world: World) -> None:
    world.run("i-1")
    world.table.name = "deleted-by-hand"
    assert delete(world).succeeded
    assert world.ec2.machines["i-1"].state == "terminated"


# --- data ---


def test_a_bucket_that_goes_is_emptied_once_no_instance_can_write_to_it(world: World) -> None:
    world.run("i-1", ends_after=3)
    assert delete(world, emptied="data").succeeded
    assert world.buckets["data"].emptied_beside == []


def test_a_bucket_that_stays_is_left_alone_and_named(world: World) -> None:
    result = delete(world, retained="table t, bucket data")
    assert result.succeeded
    assert result.reason.endswith("Retained: table t, bucket data.")
    assert world.buckets["data"].emptied_beside is None


def test_a_bucket_that_cannot_be_emptied_in_time_holds_the_deletion(world: World) -> None:
    world.buckets["data"].gives_way = False
    result = delete(world, emptied="data")
    assert not result.succeeded
    assert result.reason == "The bucket data is not empty yet; delete the stack again."


def test_nothing_is_emptied_while_an_instance_has_not_ended(world: World) -> None:
    world.run("i-1")
    world.ec2.refuse_to_end = "UnauthorizedOperation"
    assert not delete(world, emptied="data").succeeded
    assert world.buckets["data"].emptied_beside is None


def test_the_request_is_what_the_template_says_of_its_data() -> None:
    told = {names.PROPERTY_EMPTIED: "", names.PROPERTY_RETAINED: "table t, bucket data"}
    request = Request.of({"RequestType": "Delete", "ResourceProperties": told})
    assert request == Request(type="Delete", retained="table t, bucket data")


@pytest.mark.parametrize("request_type", ["Create", "Update"])
def test_a_stack_that_is_made_or_changed_may_launch(world: World, request_type: str) -> None:
    delete(world)
    assert respond(world.closing(), Request(type=request_type), lambda: LONG).succeeded
    control = world.item(keys.STACK, keys.CONTROL)
    assert control is not None
    assert "closing" not in control
    assert control["stack"] == names.STACK


def test_the_resources_id_never_changes() -> None:
    assert physical_id("Lowtide") == "Lowtide-instances"


# --- the answer ---


class _Receiver(BaseHTTPRequestHandler):
    refusals = 0
    answers: list[tuple[str | None, dict[str, Any]]]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        refused = type(self).refusals > 0
        type(self).refusals -= 1
        if not refused:
            type(self).answers.append((self.headers["Content-Type"], json.loads(body)))
        self.send_response(503 if refused else 200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[_Receiver]]]:
    kind = type("Receiver", (_Receiver,), {"answers": [], "refusals": 0})
    server = HTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/answer", kind
    server.shutdown()
    thread.join()
    server.server_close()


def request(url: str, request_type: str = "Delete") -> dict[str, Any]:
    return {
        **{"RequestType": request_type, "ResponseURL": url, "StackId": "arn:stack", "RequestId": "r-1"},
        **{"LogicalResourceId": "TeardownInstances", "ResourceProperties": {}},
    }


def test_the_answer_carries_what_cloudformation_matches_it_by(receiver: tuple[str, type[_Receiver]]) -> None:
    url, received = receiver
    cfn_answer.answer(request(url), succeeded=False, reason="x" * 5000, physical_id="Lowtide-instances")
    content_type, body = received.answers[0]
    assert content_type in (None, "")
    assert len(body.pop("Reason")) == 1000
    assert body == {
        **{"Status": "FAILED", "PhysicalResourceId": "Lowtide-instances", "StackId": "arn:stack"},
        **{"RequestId": "r-1", "LogicalResourceId": "TeardownInstances"},
    }


def test_an_answer_that_is_not_taken_is_given_again(receiver: tuple[str, type[_Receiver]]) -> None:
    url, received = receiver
    received.refusals = 2
    waited: list[float] = []
    cfn_answer.answer(request(url), succeeded=True, reason="", physical_id="p", pause=waited.append)
    assert len(received.answers) == 1
    assert waited == [1.0, 2.0]


class _Context:
    def get_remaining_time_in_millis(self) -> int:
        return 900_000


def test_a_failure_of_ours_is_answered_too(
    world: World, receiver: tuple[str, type[_Receiver]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, received = receiver
    broken = world.closing()
    monkeypatch.setattr(Table, "update", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(handler_module, "_closing", lambda: broken)
    handler_module.handler(request(url), _Context())
    assert received.answers[0][1]["Status"] == "FAILED"
    assert "ZeroDivisionError" in received.answers[0][1]["Reason"]
