"""The two functions as Lambda calls them, on the in-memory AWS."""

import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.handlers import environment, intake, worker_api
from lambdas.handlers.environment import Environment
from tests.ledger.world import ACCOUNT, ROLE, World, event

CONTEXT = SimpleNamespace(invoked_function_arn=f"arn:aws:lambda:us-west-2:{ACCOUNT}:function:worker-api")


@pytest.fixture
def deployed(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The functions' environment, its clients those of the world."""
    given = Environment(
        {
            **{names.ENV_STACK: "Lowtide", names.ENV_TABLE: "lowtide", names.ENV_WORKER_ROLES: json.dumps([ROLE])},
            **{names.ENV_PARKED_QUEUE: world.parked_url, names.ENV_RECONCILE_QUEUE: world.reconcile_url},
            **{names.ENV_DATA_ROLE: "arn:aws:iam::1:role/Data", names.ENV_BUCKET: "b", names.ENV_WORKER_LOGS: "logs"},
            names.ENV_JOB_ROLES: "[]",
            **{names.ENV_SETTINGS: '{"heartbeat": 7}', names.ENV_SUBNETS: '{"b": "subnet-2", "a": "subnet-1"}'},
        }
    )
    given.__dict__.update(dynamodb=world.dynamodb, sqs=world.sqs, sts=world.sts)
    for module in (intake, worker_api):
        monkeypatch.setattr(module, "environment", lambda: given)
    intake._intake.cache_clear()
    worker_api._worker_http.cache_clear()
    yield world
    intake._intake.cache_clear()
    worker_api._worker_http.cache_clear()


def told(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The one line of the log, by its fields."""
    (line,) = caplog.records
    return vars(line)


def record(body: str) -> dict[str, Any]:
    return {"messageId": "m-1", "body": body, "attributes": {"SentTimestamp": "1767603600000"}}


def test_intake_answers_with_what_has_to_come_again(deployed: World, caplog: pytest.LogCaptureFixture) -> None:
    body = json.dumps({"pool": "gpu", "command": ["true"], "id": "job"})
    answer = intake.handler({"Records": [record(body)]}, None)
    assert (answer, deployed.record().pool) == ({"batchItemFailures": []}, "gpu")
    assert told(caplog)["new"] == 1


def test_the_worker_api_answers_http_and_logs_a_line(deployed: World, caplog: pytest.LogCaptureFixture) -> None:
    body = {"boot_id": "b", "worker": "1", "vcpus": 1, "memory_mib": 1, "gpus": 0}
    answer = worker_api.handler(event(names.API_HELLO, deployed.instance(), body), CONTEXT)
    assert answer is not None
    assert (answer["statusCode"], json.loads(answer["body"])["settings"]["heartbeat_seconds"]) == (200, 7.0)
    line = told(caplog)
    assert (line["msg"], line["status"], line["instance_id"]) == ("worker api", 200, f"i-{1:017x}")


def test_a_refused_call_is_logged_as_a_warning(deployed: World, caplog: pytest.LogCaptureFixture) -> None:
    answer = worker_api.handler(event(names.API_HELLO, "somebody", {}), CONTEXT)
    assert answer is not None
    assert answer["statusCode"] == 403
    line = told(caplog)
    assert (line["levelname"], line["error"]) == ("WARNING", "not-a-worker")


def test_the_schedule_keeps_the_pulse(deployed: World) -> None:
    assert worker_api.handler({"source": "aws.events", "detail-type": "Scheduled Event"}, CONTEXT) is None
    assert deployed.table.get(keys.STACK, keys.API) is not None


def test_subnets_come_in_order_of_their_zones(deployed: World) -> None:
    assert intake.environment().subnets == (("a", "subnet-1"), ("b", "subnet-2"))


def test_a_client_is_made_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(environment.sdk, "client", lambda service, *_, **__: made.append(service) or service)
    given = Environment({names.ENV_TABLE: "t"})
    assert (given.table.name, made) == ("t", ["dynamodb"])


def test_the_log_has_our_lines_from_info_up_and_of_others_only_warnings() -> None:
    ours, boto = logging.getLogger("lambdas.control.tick"), logging.getLogger("botocore.credentials")
    assert (ours.isEnabledFor(logging.INFO), boto.isEnabledFor(logging.INFO)) == (True, False)
    assert boto.isEnabledFor(logging.WARNING)


def test_a_function_makes_its_clients_as_boto3_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert Environment({}).sts.meta.endpoint_url == "https://sts.us-west-2.amazonaws.com"
