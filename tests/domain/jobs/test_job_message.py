import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.jobs.job_body import message_body
from lambdas.domain.jobs.job_message import LARGEST_BODY, READERS, parse_message
from lambdas.domain.jobs.job_values import RESERVED_ENV
from lambdas.domain.jobs.jobs import Input, JobSpec, Rejection, Resources
from lambdas.domain.pools.pools import OnDemandFallback, Pool
from tests.domain.build import kind, pool
from tests.domain.properties import steadily

GPU = pool(name="gpu-large")
CPU = pool(name="cpu", types=(kind("c7g.large", 1, gpus=0, vcpus=2, memory_mib=4096), kind("c7i.xlarge", 1, gpus=0)))
POOLS = {
    "gpu-large": GPU,
    "cpu": CPU,
    "old": pool(name="old", deleted=True),
    "no-slots": pool(name="no-slots", types=(kind("m7g.large", 0),)),
    "no-aux": pool(name="no-aux", max_aux_containers_per_agent=0),
}
LEAST = {"pool": "gpu-large", "command": ["python3", "train.py"]}


def parse(body: Any = None, **fields: Any) -> JobSpec | Rejection:
    text = body if isinstance(body, str) else json.dumps({**LEAST, **fields} if body is None else body)
    return parse_message(text, message_id="m-1", pools=POOLS)


def accepted(**fields: Any) -> JobSpec:
    spec = parse(**fields)
    assert isinstance(spec, JobSpec), spec
    return spec


def rejected(body: Any = None, **fields: Any) -> Rejection:
    rejection = parse(body, **fields)
    assert isinstance(rejection, Rejection), rejection
    return rejection


def test_the_least_message_becomes_a_job_with_every_default() -> None:
    assert accepted() == JobSpec(job_id="m-1", pool="gpu-large", command=("python3", "train.py"), slots=1)


def test_a_full_message_becomes_the_job_it_describes() -> None:
    spec = accepted(
        id="train-7",
        slots=8,
        inputs=[{"s3": "s3://bucket/data.tar", "path": "data", "sha256": "AB" * 32}],
        env={"SEED": "1", "A": ""},
        tags={"team": "vision"},
        timeout="1h30m",
        priority=-100,
        max_attempts=3,
        max_interruptions=2,
        on_demand="auto",
    )
    assert spec.job_id == "train-7"
    assert spec.inputs == (Input(s3="s3://bucket/data.tar", path="data", sha256="ab" * 32),)
    assert spec.env == (("A", ""), ("SEED", "1"))
    assert spec.timeout is not None
    assert spec.timeout.total_seconds() == 5400
    assert (spec.slots, spec.priority, spec.max_attempts, spec.max_interruptions) == (8, -100, 3, 2)


def test_a_command_string_is_run_by_the_shell() -> None:
    assert accepted(command="make && ./run").command == ("/bin/sh", "-c", "make && ./run")


def test_resources_take_the_place_of_slots() -> None:
    spec = accepted(pool="cpu", resources={"vcpus": 1.5, "memory_mib": 2048})
    assert spec.resources == Resources(vcpus=Decimal("1.5"), memory_mib=2048, gpus=0)


def test_null_is_the_same_as_not_giving_an_optional_field() -> None:
    assert accepted(timeout=None, deadline=None, image=None, resources=None, max_interruptions=None) == accepted()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("not json", "is not JSON"),
        ("", "is not JSON"),
        ("[1, 2]", "not an object"),
        ("null", "not an object"),
        ('"text"', "not an object"),
        ('{"pool": NaN}', "NaN"),
        ("[" * 200_000, "nested"),
        ('{"pool": ' + "1" * 5000 + "}", "not JSON"),
        ("x" * (300 * 1024), "307,200 bytes"),
    ],
)
def test_a_body_that_is_no_object_is_parked_whatever_it_is(body: str, told: str) -> None:
    rejection = rejected(body)
    assert told in rejection.reason
    assert (rejection.field, rejection.job_id) == (None, "m-1")


def test_a_body_of_exactly_256_kib_is_a_job_and_one_byte_more_is_not() -> None:
    def body(length: int) -> str:
        bare = json.dumps({**LEAST, "command": ["true"] + [""] * 3})
        fill = length - len(bare)
        parts = [fill // 3 + (1 if n < fill % 3 else 0) for n in range(3)]
        return json.dumps({**LEAST, "command": ["true", *("x" * part for part in parts)]})

    assert len(body(LARGEST_BODY)) == LARGEST_BODY
    assert isinstance(parse(body(LARGEST_BODY)), JobSpec)
    assert "262,145 bytes" in rejected(body(LARGEST_BODY + 1)).reason


def test_size_is_counted_in_bytes_not_in_characters() -> None:
    body = json.dumps({**LEAST, "command": "é" * (LARGEST_BODY // 2)}, ensure_ascii=False)
    assert "bytes" in rejected(body).reason


def test_a_field_given_twice_is_told() -> None:
    rejection = rejected('{"pool": "gpu-large", "command": "a", "slots": 1, "slots": 2}')
    assert (rejection.field, "twice" in rejection.reason) == ("slots", True)


@pytest.mark.parametrize("missing", ["pool", "command"])
def test_a_missing_field_is_named(missing: str) -> None:
    rejection = rejected({key: value for key, value in LEAST.items() if key != missing})
    assert (rejection.field, "is missing" in rejection.reason) == (missing, True)


@pytest.mark.parametrize(
    ("unknown", "near"), [("slot", "slots"), ("comand", "command"), ("maxAttempts", "max_attempts")]
)
def test_an_unknown_field_names_the_nearest_known_one(unknown: str, near: str) -> None:
    rejection = rejected(**{unknown: 1})
    assert rejection.field == unknown
    assert f"did you mean {near}?" in rejection.reason


def test_an_unknown_pool_names_the_nearest_one() -> None:
    rejection = rejected(pool="gpu-lage")
    assert (rejection.field, rejection.pool) == ("pool", "gpu-lage")
    assert '"gpu-lage" does not exist: the nearest is "gpu-large"' in rejection.reason


def test_a_deleted_pool_takes_no_job_and_is_never_the_nearest() -> None:
    assert "is being deleted" in rejected(pool="old").reason
    assert '"old"' not in rejected(pool="olds").reason.partition("nearest")[2]


def test_without_any_pool_the_remedy_is_to_apply_one() -> None:
    rejection = parse_message(json.dumps(LEAST), message_id="m", pools={})
    assert isinstance(rejection, Rejection)
    assert "lowtide pools apply" in rejection.reason


BAD = [
    *[("slots", value) for value in (-1, 1.5, 8.0, "8", True, None, [], 10**12)],
    *[("priority", value) for value in (-101, 101, "high", 0.5)],
    *[("max_attempts", value) for value in (0, -1, 1001, None)],
    *[("max_interruptions", value) for value in (0, "never")],
    *[("id", value) for value in ("", "a" * 129, "a b", "a/b", "a#b", 7, None, ".", "..", "ä")],
    *[
        ("command", value)
        for value in ([], "", "  ", [""], ["a", 1], {"a": 1}, None, "a\0b", ["a", "b\0"], "x" * 131_072)
    ],
    *[("timeout", value) for value in ("0s", "-5m", "5", 90, "1d", "9000h")],
    *[("env", value) for value in ([], {"A": 1}, {"1A": "x"}, {"A=B": "x"}, {"": "x"})],
    *[("env", {name: "x"}) for name in sorted(RESERVED_ENV)],
    *[("env", value) for value in ({"A": "x\0"}, {"A": "x" * 131_072})],
    *[("tags", value) for value in ("x", {"a": 1}, {"": "x"}, {"k" * 129: "v"}, {"k": "v" * 257})],
    ("tags", {str(n): "v" for n in range(51)}),
    *[("inputs", value) for value in ({}, [1], [{}], [{"s3": "s3://bucket/key"}], [{"s3": "b/k", "path": "x"}] * 101)],
    *[
        ("inputs", [{"s3": s3, "path": "x"}])
        for s3 in ("http://b/k", "s3://bucket", "s3://B/k", "s3://b/", 7, "s3://buc/" + "k" * 1025)
    ],
    *[
        ("inputs", [{"s3": "s3://bucket/k", "path": path}])
        for path in ("/etc", "../x", "a/../../x", "", "a\\b", 7, "a\nb")
    ],
    *[("inputs", [{"s3": "s3://bucket/k", "path": "x", "sha256": digest}]) for digest in ("ab", "g" * 64, 1)],
    ("inputs", [{"s3": "s3://bucket/k", "path": "x", "sha": "y"}]),
    *[
        ("resources", value)
        for value in (4, {}, {"vcpus": 1}, {"vcpus": 0, "memory_mib": 1}, {"vcpus": 1, "memory_mib": 0})
    ],
    *[("resources", {"vcpus": 1, "memory_mib": 1, **more}) for more in ({"gpus": -1}, {"gpu": 1}, {"gpus": 1.5})],
    *[("resources", {"vcpus": vcpus, "memory_mib": 1}) for vcpus in (True, "1", 1.0001, 1e9)],
    *[("deadline", value) for value in ("tomorrow", "2026-11-23T15:00:00", 1700000000)],
    *[("estimated_duration", value) for value in (3600, "1 hour")],
    *[("spot_max_price", value) for value in ("60%", "0.001", 0, -1, "$1", "1e3", True, 2000)],
    *[("on_demand", value) for value in ("sometimes", True, None, [])],
    *[("image", value) for value in ("", "a b", 7, "--privileged", "x\n", "a" * 513)],
    *[("secrets", value) for value in ({"A": "plain"}, ["arn:aws:ssm:us-west-2:123456789012:parameter/x"])],
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_bad_value_is_parked_by_its_field_with_the_value_and_a_remedy(field: str, value: Any) -> None:
    rejection = rejected(**{field: value})
    assert rejection.field == field
    assert rejection.reason.startswith(field)
    assert len(rejection.reason) > len(field) + 20


def test_every_field_of_the_contract_has_a_bad_value_among_these_tests() -> None:
    assert {field for field, _ in BAD} | {"pool"} == set(READERS)


def test_a_number_is_told_as_it_was_sent() -> None:
    assert rejected(slots=1.5).reason.startswith("slots is 1.5: it takes")
    assert rejected(spot_max_price=0.001).reason.startswith("spot_max_price is 0.001: it takes")


def test_the_place_inside_a_field_is_named() -> None:
    inputs = [{"s3": "s3://bucket/k", "path": "x"}, {"s3": "s3://bucket/k", "path": "../x"}]
    assert rejected(inputs=inputs).reason.startswith('inputs[1].path is "../x": it takes a relative path')
    assert "did you mean gpus?" in rejected(resources={"vcpus": 1, "memory_mib": 1, "gpu": 1}).reason


def test_half_a_surrogate_pair_is_parked_since_nothing_can_store_it() -> None:
    assert rejected('{"pool": "gpu-large", "command": "x\\ud800"}').field == "command"
    assert rejected('{"pool": "\\ud800", "command": "x"}').pool is None


def test_a_deadline_is_read_to_an_instant_and_goes_back_into_a_message() -> None:
    read = accepted(deadline="2026-11-24T01:00:00+01:00", estimated_duration="2h30m")
    assert (read.deadline, read.estimated_duration) == (datetime(2026, 11, 24, tzinfo=UTC), timedelta(hours=2.5))
    assert JobSpec.from_document(read.to_document()) == read
    again = parse(message_body(read))
    assert isinstance(again, JobSpec)
    assert (again.deadline, again.estimated_duration) == (read.deadline, read.estimated_duration)


SECRET = "arn:aws:secretsmanager:us-west-2:123456789012:secret:x"


def test_secrets_are_taken_by_address_in_a_pool_whose_jobs_have_a_role() -> None:
    body = json.dumps({"pool": "p", "command": "x", "secrets": {"TOKEN": SECRET}})
    with_role = pool(name="p", job_role_arn="arn:aws:iam::1:role/jobs")
    read = parse_message(body, message_id="m", pools={"p": with_role})
    assert isinstance(read, JobSpec)
    assert read.secrets == (("TOKEN", SECRET),)


def test_secrets_that_no_role_could_read_are_parked_with_the_remedy() -> None:
    rejection = rejected(secrets={"TOKEN": SECRET})
    assert (rejection.field, "set job_role_arn" in rejection.reason) == ("secrets", True)
    assert accepted(secrets={}) == accepted()


def test_a_variable_that_has_two_values_is_parked() -> None:
    body = json.dumps({"pool": "p", "command": "x", "env": {"A": "1"}, "secrets": {"A": SECRET}})
    with_role = pool(name="p", job_role_arn="arn:aws:iam::1:role/jobs")
    rejection = parse_message(body, message_id="m", pools={"p": with_role})
    assert isinstance(rejection, Rejection)
    assert rejection.reason == 'secrets["A"] is in env as well; give it once'


@pytest.mark.parametrize("name", ["ubuntu:24.04", "111122223333.dkr.ecr.us-west-2.amazonaws.com/a/b_c@sha256:0f"])
def test_an_image_is_taken_as_it_is_named(name: str) -> None:
    assert accepted(image=name).image == name


def test_a_job_that_insists_on_a_lifecycle_which_its_pools_owner_does_not_allow_is_parked() -> None:
    fallback, on_demand = pool(on_demand_fallback=OnDemandFallback()), pool(spot=False, spot_max_price=None)

    def read(word: str, owner: Pool) -> JobSpec | Rejection:
        body = json.dumps({"pool": owner.name, "command": "x", "on_demand": word, "spot_max_price": "0.35"})
        return parse_message(body, message_id="m", pools={owner.name: owner})

    for word, owner in (("always", pool()), ("never", on_demand)):
        parked = read(word, owner)
        assert isinstance(parked, Rejection)
        assert parked.field == "on_demand"
    for word, owner in (("always", fallback), ("never", pool()), ("always", on_demand), ("auto", on_demand)):
        spec = read(word, owner)
        assert isinstance(spec, JobSpec)
        assert (spec.on_demand, spec.spot_max_price) == (word, Decimal("0.35"))
        assert JobSpec.from_document(json.loads(json.dumps(spec.to_document()))) == spec
        assert parse_message(message_body(spec), message_id="other", pools={owner.name: owner}) == spec


def test_more_slots_than_an_instance_has_is_a_multi_instance_job() -> None:
    assert isinstance(parse(slots=8), JobSpec)
    rejection = rejected(slots=9)
    assert rejection.field == "slots"
    assert "multi-instance jobs are not supported" in rejection.reason
    assert "at most 8 (g4dn.metal)" in rejection.reason


def test_a_pool_without_slots_says_how_to_have_some() -> None:
    assert "cpu_slots_allowed" in rejected(pool="no-slots").reason


def test_a_pool_that_takes_no_auxiliary_job_says_so() -> None:
    assert isinstance(parse(slots=0), JobSpec)
    assert "max_aux_containers_per_agent" in rejected(pool="no-aux", slots=0).reason


def test_slots_and_resources_exclude_each_other() -> None:
    assert "give one of them" in rejected(slots=1, resources={"vcpus": 1, "memory_mib": 1}).reason


def test_resources_that_no_type_holds_are_parked_with_what_the_pool_has() -> None:
    rejection = rejected(pool="cpu", resources={"vcpus": 1, "memory_mib": 1, "gpus": 1})
    assert rejection.field == "resources"
    assert "c7g.large (2 vCPUs, 4096 MiB, 0 GPUs)" in rejection.reason


def test_a_rejection_carries_id_and_pool_when_they_are_right() -> None:
    rejection = rejected(id="train-7", slots=-1)
    assert (rejection.job_id, rejection.pool) == ("train-7", "gpu-large")
    rejection = rejected(id="not an id", pool=7)
    assert (rejection.job_id, rejection.pool) == ("m-1", None)


ALPHABET = 'aZ09_.:-/ "{}[],\\\0\nµé😀'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(ALPHABET, max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(ALPHABET, max_size=8), inner, max_size=3),
    max_leaves=8,
)


@steadily(100)
@given(st.dictionaries(st.sampled_from([*READERS, "slot", ""]), JSON, max_size=6))
def test_whatever_is_sent_is_a_job_or_a_rejection_with_a_reason(fields: dict[str, Any]) -> None:
    answer = parse_message(json.dumps({**LEAST, **fields}), message_id="m-1", pools=POOLS)
    assert isinstance(answer, JobSpec) or answer.reason


@steadily(100)
@given(st.text(ALPHABET, max_size=60))
def test_any_text_at_all_is_answered(body: str) -> None:
    answer = parse_message(body, message_id="m-1", pools=POOLS)
    assert isinstance(answer, Rejection)
    assert answer.reason


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("env", "hunter2", ""),
        ("env", ["hunter2"], ""),
        ("env", {"A": {"x": "hunter2"}}, '["A"]'),
        ("env", {"A": "hunter2\0"}, '["A"]'),
        ("env", {"A": "hunter2\ud800"}, '["A"]'),
        ("env", {"A": "hunter2" * 20_000}, '["A"]'),
        ("secrets", "hunter2", ""),
        ("secrets", {"A": "hunter2"}, '["A"]'),
        ("secrets", {"A": ["hunter2"]}, '["A"]'),
    ],
)
def test_a_refusal_never_quotes_what_may_be_a_password(field: str, value: Any, place: str) -> None:
    reason = rejected(**{field: value}).reason
    assert reason.startswith(f"{field}{place} ")
    assert "hunter2" not in reason
