"""Who may call the worker API, what each failure is answered with, and which are counted."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.pulse import outage_end
from lambdas.control import worker_calls
from lambdas.domain.jobs.jobs import JobState
from lowtide.sim.calls import FailNext, aws_error
from tests.ledger.world import ACCOUNT, JOB_ROLE, World, event, pool

CLAIM = {"request_id": "r", "free_slots": 1, "free_aux_slots": 0, "most": 1}
RUNNING = {"slots": 0, "vcpus": "0.5", "memory_mib": 1, "gpus": 0, "aux_slots": 0}


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::111122223333:user/somebody",
        "arn:aws:sts::111122223333:assumed-role/Admin/i-00000000000000001",
        "arn:aws:sts::999999999999:assumed-role/LowtideWorker/i-00000000000000001",
        "arn:aws:sts::111122223333:assumed-role/LowtideWorker/somebody",
        "arn:aws:sts::111122223333:assumed-role/LowtideWorker/i-00000000000000001/more",
        "",
    ],
)
def test_whoever_is_no_instance_with_a_worker_role_is_refused(world: World, arn: str) -> None:
    world.instance()
    call = event(names.API_CLAIM, "x", CLAIM)
    call["requestContext"]["authorizer"]["iam"]["userArn"] = arn
    reply = world.http.reply(call, account=ACCOUNT)
    assert (reply.status, reply.body["error"]) == (403, "not-a-worker")


def test_a_call_without_iam_is_refused(world: World) -> None:
    reply = world.http.reply({"rawPath": names.API_CLAIM, "requestContext": {}, "body": "{}"}, account=ACCOUNT)
    assert (reply.status, reply.body["error"]) == (403, "not-a-worker")


def test_a_worker_of_another_partition_is_a_worker(world: World) -> None:
    call = event(names.API_CLAIM, world.instance(), CLAIM)
    identity = call["requestContext"]["authorizer"]["iam"]
    identity["userArn"] = identity["userArn"].replace("arn:aws:", "arn:aws-cn:")
    assert world.http.reply(call, account=ACCOUNT).status == 200


def test_an_instance_that_is_not_in_the_table_yet_is_told_to_ask_again_and_then_served(world: World) -> None:
    early = world.post(names.API_CLAIM, f"i-{5:017x}", CLAIM)
    world.instance(5)
    assert (early[0], early[1]["error"]) == (403, "unknown-instance")
    assert world.post(names.API_CLAIM, f"i-{5:017x}", CLAIM)[0] == 200


BAD: list[tuple[str, Any, str]] = [
    (names.API_CLAIM, "not JSON", "body"),
    (names.API_CLAIM, "[]", "body"),
    (names.API_CLAIM, {**CLAIM, "free_slots": "1"}, "free_slots"),
    (names.API_CLAIM, {**CLAIM, "running": {**RUNNING, "gpus": -1}}, "gpus"),
    (names.API_CLAIM, {**CLAIM, "running": {**RUNNING, "vcpus": "NaN"}}, "vcpus"),
    (names.API_CLAIM, {**CLAIM, "running": {**RUNNING, "vcpus": "a lot"}}, "vcpus"),
    (names.API_CLAIM, {**CLAIM, "running": {**RUNNING, "vcpus": "0.0001"}}, "vcpus"),
    (names.API_CLAIM, {**CLAIM, "running": [1]}, "leases, running or notice"),
    (names.API_CLAIM, {**CLAIM, "most": -1}, "most"),
    (names.API_CLAIM, {**CLAIM, "most": True}, "most"),
    (names.API_CLAIM, {**CLAIM, "request_id": ""}, "request_id"),
    (names.API_HELLO, {}, "boot_id"),
    (names.API_HEARTBEAT, {"leases": {}}, "leases"),
    (names.API_HEARTBEAT, {"leases": [{"job_id": "x"}]}, "fence"),
    (names.API_HEARTBEAT, {"leases": [], "notice": {"kind": "rumour", "at": "2026-01-05T09:02:00Z"}}, "notice.kind"),
    (names.API_HEARTBEAT, {"leases": [], "notice": {"kind": "rebalance", "at": "soon"}}, "at"),
    (names.API_RELEASE, {"job_id": "x", "fence": 1}, "error or reason"),
]


@pytest.mark.parametrize(("path", "body", "field"), BAD)
def test_a_malformed_body_is_refused_by_field(world: World, path: str, body: Any, field: str) -> None:
    status, answer = world.post(path, world.instance(), body)
    assert (status, answer["error"], answer["field"]) == (400, "bad-request", field)


def test_a_result_says_how_the_attempt_ended(world: World) -> None:
    body = world.result(exit_code=None)
    status, answer = world.post(names.API_FINISH, world.instance(), body)
    assert (status, answer["field"]) == (400, "exit_code")


def test_of_a_long_error_its_end_is_kept_where_an_output_says_why_it_failed(world: World) -> None:
    error = "step 1\n" * 1000 + "ValueError: no such column"
    found = worker_calls.finish(world.result(exit_code=1, error=error)).result.error
    assert found is not None
    assert (len(found), found[-26:]) == (1000, "ValueError: no such column")


def test_an_unknown_path_is_not_found(world: World) -> None:
    assert world.post("/v2/claim", world.instance(), CLAIM)[0] == 404


def test_a_body_may_come_in_base64(world: World) -> None:
    call = event(names.API_CLAIM, world.instance(), CLAIM)
    call |= {"body": base64.b64encode(json.dumps(CLAIM).encode()).decode(), "isBase64Encoded": True}
    assert world.http.reply(call, account=ACCOUNT).status == 200


def throttle(world: World, operation: str) -> None:
    world.dynamodb.hook = FailNext(errors={operation: [aws_error("x", "ThrottlingException", "slow down")]})


def test_a_fault_of_ours_is_a_503(world: World) -> None:
    instance = world.instance()
    throttle(world, "dynamodb.batch_get_item")
    status, answer = world.post(names.API_CLAIM, instance, CLAIM)
    assert (status, answer["error"]) == (503, "unavailable")


def test_a_bug_is_raised_so_that_the_functions_errors_show_it(world: World) -> None:
    instance = world.instance()
    world.dynamodb.hook = FailNext(errors={"dynamodb.batch_get_item": [TypeError("a bug")]})
    with pytest.raises(TypeError):
        world.post(names.API_CLAIM, instance, CLAIM)


def test_an_answer_is_given_even_when_its_beat_cannot_be_written(world: World) -> None:
    world.job()
    instance = world.instance()
    world.claim(instance)
    world.clock.advance(timedelta(minutes=1))
    throttled = aws_error("x", "ThrottlingException", "slow down")
    beat = FailNext()
    world.dynamodb.hook = beat
    beat.errors = {"dynamodb.update_item": [throttled]}
    world.sqs.hook = None
    assert world.post(names.API_CLAIM, instance, CLAIM)[0] == 200


# --- the pulse ---


def outage_ended(world: World) -> Any:
    return outage_end(world.table.get(keys.STACK, keys.API), world.clock(), world.settings)


def beats(world: World, minutes: int) -> None:
    for _ in range(minutes):
        world.clock.advance(timedelta(minutes=1))
        world.pulse.beat(world.clock())


def test_a_steady_pulse_has_no_outage_but_its_begin(world: World) -> None:
    world.pulse.beat(world.clock())
    begin = world.clock()
    beats(world, 30)
    assert outage_ended(world) == begin


def test_a_silence_of_over_three_minutes_is_an_outage_until_it_ends(world: World) -> None:
    beats(world, 1)
    world.clock.advance(timedelta(minutes=10))
    assert outage_ended(world) == world.clock()
    world.pulse.beat(world.clock())
    ended = world.clock()
    beats(world, 2)
    assert outage_ended(world) == ended


def test_a_minute_late_is_no_outage(world: World) -> None:
    world.pulse.beat(world.clock())
    begin = world.clock()
    world.clock.advance(timedelta(minutes=3))
    world.pulse.beat(world.clock())
    assert outage_ended(world) == begin


def test_calls_that_had_to_fail_are_an_outage_that_ends_with_the_next_answer(world: World) -> None:
    instance = world.instance()
    beats(world, 1)
    throttle(world, "dynamodb.batch_get_item")
    world.post(names.API_CLAIM, instance, CLAIM)
    world.clock.advance(timedelta(seconds=20))
    world.post(names.API_CLAIM, instance, CLAIM)
    assert outage_ended(world) == world.clock()


def test_an_outage_holds_leases_no_longer_than_workers_live_without_answers(world: World) -> None:
    world.pulse.beat(world.clock())
    begin = world.clock()
    world.clock.advance(world.settings.running_power_off)
    assert outage_ended(world) == begin


def test_answers_write_a_beat_once_a_heartbeat(world: World) -> None:
    instance = world.instance()
    world.claim(instance)
    first = world.table.get(keys.STACK, keys.API)
    world.clock.advance(timedelta(seconds=10))
    world.claim(instance)
    assert world.table.get(keys.STACK, keys.API) == first
    world.clock.advance(timedelta(seconds=20))
    world.claim(instance)
    assert world.table.get(keys.STACK, keys.API) != first


# --- what is counted --------------------------------------------------------------------------------------------------


def refused(world: World) -> dict[str, int]:
    """Refused calls by reason, and in all, as CloudWatch reads them from the log."""
    found: dict[str, int] = {}
    for line in map(json.loads, world.counted.getvalue().splitlines()):
        assert line[names.DIMENSION_STACK] == "Lowtide"
        told = line.get(names.DIMENSION_REASON, "all")
        found[told] = found.get(told, 0) + sum(line[names.METRIC_REFUSED_CALLS])
    return found


@pytest.fixture
def strangers_job(world: World) -> tuple[str, int]:
    """An instance of another pool than the job's; the job's fence. The job runs in its own pool."""
    for name in ("mine", "theirs"):
        world.config.put_pool(pool(name, job_role_arn=JOB_ROLE), None, now=world.clock())
    world.job("secret", pool="theirs")
    (lease,) = world.claim(world.instance(1, pool="theirs"))["leases"]
    return world.instance(2, pool="mine"), lease["fence"]


@pytest.mark.parametrize("path", [names.API_FINISH, names.API_RELEASE, names.API_JOB_CREDENTIALS])
def test_ending_or_reading_another_pools_job_is_refused_and_counted(
    world: World, strangers_job: tuple[str, int], path: str
) -> None:
    mine, fence = strangers_job
    body = {**world.result("secret", fence), "reason": "mine"}
    status, answer = world.post(path, mine, body)
    assert (status, answer["error"]) == (403, "not-yours")
    assert refused(world) == {"all": 1, "not-yours": 1}
    assert (world.record("secret").state, world.sts.asked) == (JobState.RUNNING, [])


def test_another_pools_job_is_never_claimed_and_naming_it_in_a_heartbeat_renews_nothing(
    world: World, strangers_job: tuple[str, int]
) -> None:
    mine, fence = strangers_job
    world.job("waiting", pool="theirs")
    assert world.claim(mine)["leases"] == []
    before = world.leases.of("theirs", f"i-{1:017x}")
    world.clock.advance(timedelta(seconds=30))
    assert world.heartbeat(mine, ("secret", fence))["stop"][0]["reason"] == "lease-lost"
    assert world.leases.of("theirs", f"i-{1:017x}") == before


def test_calls_that_are_none_of_a_worker_are_counted_by_their_reason(world: World) -> None:
    world.post(names.API_CLAIM, "somebody", CLAIM)
    world.post(names.API_CLAIM, world.instance(), {})
    world.post("/v1/everything", world.instance(), {})
    assert refused(world) == {"all": 3, "not-a-worker": 1, "bad-request": 1, "no-such-call": 1}


def test_what_belongs_to_ordinary_life_is_not_counted(world: World) -> None:
    instance = world.instance()
    world.job()
    world.claim(instance)
    world.leases.take_back("job", instance, 1, "silent", world.clock())
    assert world.post(names.API_FINISH, instance, world.result())[0] == 409
    assert world.post(names.API_CLAIM, f"i-{99:017x}", CLAIM)[1]["error"] == "unknown-instance"
    assert refused(world) == {}
