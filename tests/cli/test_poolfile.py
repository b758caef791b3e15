"""The pool file: what is valid stands as it is, what is wrong names path, value and remedy."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lambdas.adapters.catalogue import TypeListing
from lambdas.domain.pools.pools import Pool
from lowtide.poolfile.difference import changes, cost_line
from lowtide.poolfile.load import parse
from lowtide.poolfile.resolve import Facts, ImageFacts, resolve
from lowtide.poolfile.template import TEMPLATE
from worker.agent import LEASES_MOST

NOW = datetime(2026, 11, 23, tzinfo=UTC)

SEED = """
resource_pools:
  - pool_name: aws-spot-g4dn-metal
    provider:
      type: aws
      max_instances: 10
      instance_type: g4dn.metal
      spot: true
"""


def listing(name: str, *, gpus: int = 0, architecture: str = "x86_64") -> TypeListing:
    return TypeListing(
        name=name, vcpus=4, memory_mib=16384, gpus=gpus, architecture=architecture, bare_metal=name.endswith("metal")
    )


FACTS = Facts(
    region="us-east-1",
    listings={"g4dn.metal": listing("g4dn.metal", gpus=8), "m7i.large": listing("m7i.large")},
    prices={"g4dn.metal": Decimal("7.824"), "m7i.large": Decimal("0.1008")},
    zones_of_subnets={"subnet-a": "us-east-1a", "subnet-b": "us-east-1b", "subnet-a2": "us-east-1a"},
)


def pool_of(**provider: object) -> str:
    return yaml.safe_dump({"resource_pools": [{"pool_name": "p", "provider": {"type": "aws", **provider}}]})


def problems_of(text: str) -> list[str]:
    return [str(problem) for problem in parse(text).problems]


def resolved(text: str, facts: Facts = FACTS) -> Pool:
    (entry,) = parse(text).entries
    pool, problems = resolve(entry, "resource_pools[0]", facts, NOW)
    assert pool, problems
    return pool


def refused(text: str, facts: Facts = FACTS) -> str:
    (entry,) = parse(text).entries
    pool, (problem,) = resolve(entry, "resource_pools[0]", facts, NOW)
    assert pool is None
    return str(problem)


def test_a_determined_fragment_stands_as_it_is_and_means_what_it_means_there() -> None:
    pool = resolved(SEED)
    assert (pool.name, pool.spot, pool.spot_max_price, pool.min_instances) == ("aws-spot-g4dn-metal", True, None, 0)
    assert (pool.max_instances, pool.types[0].slots, pool.max_aux_containers_per_agent) == (10, 8, 100)
    assert pool.max_idle_agent_period == timedelta(minutes=20)
    assert pool.price_limit(pool.types[0]) == Decimal("7.824")


def test_bare_metal_gets_forty_minutes_to_start() -> None:
    assert resolved(SEED).max_agent_starting_period == timedelta(minutes=40)
    assert resolved(pool_of(instance_type="m7i.large")).max_agent_starting_period == timedelta(minutes=20)


def test_a_tag_value_alone_and_the_older_name_of_a_key_mean_what_they_mean_in_determined() -> None:
    assert resolved(pool_of(instance_type="m7i.large", tag_value="team-a")).machine.tags == (("managed_by", "team-a"),)
    older = SEED.replace("    provider:", "    max_cpu_containers_per_agent: 7\n    provider:")
    assert resolved(older).max_aux_containers_per_agent == 7


def test_an_empty_text_of_determineds_is_the_same_as_none() -> None:
    keys = ("region", "image_id", "ssh_key_name", "iam_instance_profile_arn", "spot_max_price", "tag_value")
    interface = {"subnet_id": "", "security_group_id": ""}
    empty = resolved(
        pool_of(instance_type="g4dn.metal", spot=True, network_interface=interface, **dict.fromkeys(keys, ""))
    )
    assert empty == resolved(pool_of(instance_type="g4dn.metal", spot=True, network_interface={}))


def test_a_price_limit_has_no_effect_on_an_on_demand_pool_which_is_told() -> None:
    text = pool_of(instance_type="m7i.large", spot_max_price="0.01")
    assert resolved(text).spot_max_price is None
    (note,) = [note for note in parse(text).notes if "spot_max_price" in note]
    assert "resource_pools[0].provider.spot_max_price has no effect without spot: true" in note


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"instance_type": "m7i.large"}, True),
        ({"instance_type": "g4dn.metal"}, False),
        ({"instance_types": ["p3.2xlarge", "m7i.large"]}, False),
        ({"instance_type": "m7i.large", "cpu_slots_allowed": True}, False),
        ({"instance_type": "m7i.large", "instance_slots": 2}, False),
    ],
)
def test_cpu_slots_without_being_asked_for_are_told_as_a_difference(keys: dict[str, Any], told: bool) -> None:
    notes = parse(pool_of(**keys)).notes
    assert any("cpu_slots_allowed defaults to true here" in note for note in notes) is told


@pytest.mark.parametrize(
    "key",
    [
        *("max_idle_agent_period", "max_agent_starting_period", "launch_error_timeout", "max_instance_lifetime"),
        *("unfulfilled_alarm_after", "starvation_after"),
    ],
)
@pytest.mark.parametrize("value", ["-5m", "1d", "1h 30m", "5 minutes", 90])
def test_a_duration_is_one_of_gos_and_never_negative(key: str, value: object) -> None:
    (problem,) = parse(pool_of(instance_type="m7i.large", **{key: value})).problems
    assert problem.path == f"resource_pools[0].provider.{key}"
    assert "is not a duration" in problem.message


@pytest.mark.parametrize(("key", "value"), [("after", "-1m"), ("return_after", "-1m"), ("return_after", "2d")])
def test_durations_of_the_fallback_are_too(key: str, value: str) -> None:
    text = pool_of(instance_type="m7i.large", spot=True, on_demand_fallback={key: value})
    (problem,) = parse(text).problems
    assert problem.path == f"resource_pools[0].provider.on_demand_fallback.{key}"


def test_an_instance_takes_no_more_auxiliary_jobs_than_its_worker_holds_leases() -> None:
    file = {"resource_pools": [{"pool_name": "cpu", "provider": {"type": "aws", "instance_type": "m7i.large"}}]}
    file["resource_pools"][0]["max_aux_containers_per_agent"] = LEASES_MOST
    assert parse(json.dumps(file)).problems == ()
    file["resource_pools"][0]["max_aux_containers_per_agent"] = LEASES_MOST + 1
    (problem,) = parse(json.dumps(file)).problems
    assert problem.path == "resource_pools[0].max_aux_containers_per_agent"


def test_the_file_that_init_writes_is_valid() -> None:
    assert problems_of(TEMPLATE) == []
    assert [entry.provider.spot for entry in parse(TEMPLATE).entries] == [True, True]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("", "", "no resource_pools"),
        ("a: [", "", "neither YAML nor JSON"),
        ("resource_pools: 3", "resource_pools", "is 3; it takes a list"),
        ("resource_pools: [7]", "resource_pools[0]", "is 7"),
        (
            pool_of(instance_type="m7i.large", max_instnces=3),
            "resource_pools[0].provider.max_instnces",
            "did you mean max_",
        ),
        (
            pool_of(instance_type="m7i.large", max_instances=0),
            "resource_pools[0].provider.max_instances",
            "is 0; it should",
        ),
        (pool_of(instance_type="m7i.large", max_instances="5"), "resource_pools[0].provider.max_instances", 'is "5"'),
        (pool_of(instance_type="m7i.large", min_instances=9), "resource_pools[0].provider", "above max_instances 5"),
        (pool_of(), "resource_pools[0].provider", "neither is given"),
        (
            pool_of(instance_type="m7i.large", instance_types=["m7i.large"]),
            "resource_pools[0].provider",
            "both are given",
        ),
        (pool_of(instance_types=["a.b", "a.b"]), "resource_pools[0].provider", "twice"),
        (pool_of(instance_type="m7i.large", max_idle_agent_period="5 minutes"), ".max_idle_agent_period", "90s, 20m"),
        (pool_of(instance_type="m7i.large", spot=True, spot_max_price=0.001), ".spot_max_price", "above $0.001"),
        (pool_of(instance_type="m7i.large", spot=True, spot_max_price="$1"), ".spot_max_price", "no currency"),
        (pool_of(instance_type="m7i.large", whatever=1), ".provider.whatever", "is not a known key; did you mean "),
        (pool_of(instance_type="m7i.large", launch_template="lt-1"), ".provider.launch_template", "is not supported"),
        (pool_of(instance_type="m7i.large", regions=["us-east-1"]), ".provider.regions", "is not supported"),
        (pool_of(instance_type="m7i.large", network_interface=[]), ".network_interface", "is []; it takes a mapping"),
        (pool_of(instance_type="m7i.large", allocation_strategy="cheap"), ".allocation_strategy", 'is "cheap"'),
        (
            pool_of(instance_type="m7i.large", network_interface={"public_pi": True}),
            ".public_pi",
            "did you mean public_ip",
        ),
        (SEED.replace("aws-spot", "AWS_spot"), "resource_pools[0].pool_name", "lower-case letters"),
        (SEED + SEED.split("resource_pools:\n")[1], "resource_pools", "2 pools named 'aws-spot-g4dn-metal'"),
        (SEED + "      spot: false\n", "", "twice"),
    ],
)
def test_a_wrong_file_names_the_path_the_value_and_the_remedy(text: str, path: str, words: str) -> None:
    problems = parse(text).problems
    assert [p for p in problems if p.path.endswith(path) and words in p.message], problems


JOBS = "arn:aws:iam::123456789012:role/jobs"


def test_a_role_for_jobs_that_the_stack_may_take_is_the_pools() -> None:
    text = pool_of(instance_type="m7i.large", job_role_arn=JOBS)
    assert resolved(text, replace(FACTS, job_roles=frozenset({JOBS}))).job_role_arn == JOBS
    assert resolved(text).job_role_arn == JOBS, "a stack that does not say which is taken at the owner's word"
    assert f"job_role_arn: - -> {JOBS}" in changes(resolved(pool_of(instance_type="m7i.large")), resolved(text))


def test_a_role_for_jobs_that_the_stack_may_not_take_is_refused_with_what_to_deploy() -> None:
    other = JOBS + "-2"
    text = pool_of(instance_type="m7i.large", job_role_arn=JOBS)
    problem = refused(text, replace(FACTS, job_roles=frozenset({other})))
    assert problem.endswith(
        f'provider.job_role_arn: is "{JOBS}", which the stack may not take: deploy it with -c job_roles={JOBS},{other}'
    )


def test_a_key_of_determined_without_meaning_here_is_told_once_and_ignored() -> None:
    found = parse(pool_of(instance_type="m7i.large", master_url="http://x", agent_docker_image="y"))
    assert not found.problems
    assert sum("master_url" in note for note in found.notes) == 1


def test_a_key_of_determined_in_two_pools_is_told_once_with_both_places() -> None:
    pools = [
        {"pool_name": n, "provider": {"type": "aws", "instance_type": "m7i.large", "log_group": "x"}} for n in "ab"
    ]
    (note,) = [note for note in parse(yaml.safe_dump({"resource_pools": pools})).notes if "log_group" in note]
    assert "resource_pools[0].provider.log_group, resource_pools[1].provider.log_group: ignored" in note


def test_a_whole_master_configuration_is_a_valid_file() -> None:
    keys = ["db", "resource_manager", "checkpoint_storage", "notebook_timeout", "launch_error", "saml", "__internal"]
    found = parse(SEED + "".join(f"{key}: {{}}\n" for key in keys))
    assert not found.problems
    assert [note.partition(":")[0] for note in found.notes][: len(keys)] == keys


def test_every_problem_of_a_file_is_told_at_once() -> None:
    text = pool_of(instance_type="m7i.large", max_instances=0, max_idle_agent_period="x", foo=1)
    assert len(problems_of(text)) == 3


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
)
def test_no_provider_whatever_is_in_it_ends_in_a_traceback(provider: object) -> None:
    text = yaml.safe_dump({"resource_pools": [{"pool_name": "p", "provider": provider}]})
    assert parse(text).problems


def test_an_unknown_type_names_the_nearest_that_ec2_lists() -> None:
    assert "did you mean g4dn.metal?" in refused(pool_of(instance_type="g4dn.metall"))


def test_an_unknown_type_with_slots_of_its_owners_is_taken_at_his_word() -> None:
    assert resolved(pool_of(instance_type="x9.large", instance_slots=4)).types[0].slots == 4


def test_a_pool_without_gpus_gets_one_slot_an_instance_unless_it_says_otherwise() -> None:
    assert resolved(pool_of(instance_type="m7i.large")).types[0].slots == 1
    assert resolved(pool_of(instance_type="m7i.large", cpu_slots_allowed=False)).types[0].slots == 0


def test_in_a_pool_with_gpus_a_cpu_type_has_no_slots() -> None:
    pool = resolved(pool_of(instance_types=["g4dn.metal", "m7i.large"]))
    assert [kind.slots for kind in pool.types] == [8, 0]


def test_the_region_must_be_the_stacks() -> None:
    assert "the stack is in us-east-1" in refused(pool_of(instance_type="m7i.large", region="eu-west-1"))


@pytest.mark.parametrize(
    ("subnets", "words"),
    [(["subnet-a", "subnet-a2"], "two subnets of one zone"), (["subnet-zz"], "does not exist")],
)
def test_subnets_are_one_per_zone_and_exist(subnets: list[str], words: str) -> None:
    assert words in refused(pool_of(instance_type="m7i.large", subnet_ids=subnets))


def test_a_pool_survives_its_stored_form() -> None:
    pool = resolved(pool_of(instance_type="g4dn.metal", spot=True, spot_max_price="1.25", subnet_ids=["subnet-b"]))
    assert Pool.from_document(pool.to_document()) == pool


def test_a_change_is_shown_as_old_and_new() -> None:
    old, new = resolved(SEED), resolved(SEED.replace("10", "12"))
    assert changes(old, new) == ["max_instances: 10 -> 12"]
    assert changes(old, old) == []


def test_the_most_a_pool_can_cost_is_its_limit_times_its_maximum() -> None:
    assert cost_line(resolved(SEED)) == "spot; at most 10 instances, $78.24 per hour"
    limited = resolved(pool_of(instance_type="g4dn.metal", spot=True, spot_max_price="2", max_instances=3))
    assert "$6.00 per hour" in cost_line(limited)


def test_what_a_pool_asks_of_its_instances_is_stored() -> None:
    pool = resolved(
        pool_of(
            instance_type="m7i.large",
            tag_key="team",
            tag_value="vision",
            custom_tags=[{"key": "cost", "value": "7"}],
            instance_name="trainer",
            ssh_key_name="me",
            root_volume_size=300,
            network_interface={"public_ip": False, "security_group_id": "sg-1"},
            startup_script="echo hello",
        )
    )
    machine = pool.machine
    assert machine.tags == (("team", "vision"), ("cost", "7"))
    assert (machine.instance_name, machine.ssh_key_name, machine.root_volume_size) == ("trainer", "me", 300)
    assert (machine.public_ip, machine.security_group_id, machine.startup_script) == (False, "sg-1", "echo hello")
    assert Pool.from_document(pool.to_document()) == pool


def test_a_script_is_shown_by_its_size_and_digest_alone() -> None:
    pool = resolved(pool_of(instance_type="m7i.large", startup_script="export TOKEN=hunter2"))
    lines = changes(None, pool) + changes(resolved(pool_of(instance_type="m7i.large")), pool)
    assert sum("startup_script: " in line and "20 bytes, sha256 " in line for line in lines) == 2
    assert "hunter2" not in "".join(lines)
    assert "hunter2" not in repr(pool)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"startup_script": "#" * 4097}, "16 KiB of user data"),
        ({"startup_script": "#" * 4000, "container_startup_script": "#" * 97}, "16 KiB of user data"),
        ({"tag_key": "a", "custom_tags": [{"key": "a", "value": "b"}]}, 'sets the tag "a" twice'),
        ({"instance_name": "x", "custom_tags": [{"key": "Name", "value": "b"}]}, 'sets the tag "Name" twice'),
        ({"custom_tags": [{"key": "lowtide:stack", "value": "b"}]}, 'sets the tag "lowtide:stack"'),
        ({"custom_tags": [{"key": f"k{n}", "value": ""} for n in range(46)]}, "sets 46 tags"),
    ],
)
def test_tags_and_scripts_that_ec2_would_refuse_are_refused_in_the_file(keys: dict[str, Any], words: str) -> None:
    (problem,) = problems_of(pool_of(instance_type="m7i.large", **keys))
    assert words in problem


@pytest.mark.parametrize(
    ("keys", "missing", "words"),
    [
        ({"ssh_key_name": "me"}, ("ssh_key_name", "me"), 'provider.ssh_key_name: is "me"'),
        ({"image_id": "ami-1"}, ("image_id", "ami-1"), 'provider.image_id: is "ami-1"'),
        (
            {"network_interface": {"security_group_id": "sg-1"}},
            ("network_interface.security_group_id", "sg-1"),
            'security_group_id: is "sg-1"',
        ),
    ],
)
def test_what_the_account_does_not_have_is_told_at_apply(
    keys: dict[str, Any], missing: tuple[str, str], words: str
) -> None:
    problem = refused(pool_of(instance_type="m7i.large", **keys), replace(FACTS, missing=frozenset({missing})))
    assert words in problem
    assert "does not exist in" in problem


def test_an_image_of_another_architecture_is_refused_and_its_own_root_device_kept() -> None:
    text = pool_of(instance_type="m7i.large", image_id="ami-1")
    arm = replace(FACTS, images={"ami-1": ImageFacts(architecture="arm64", root_device="/dev/sda1")})
    assert "built for arm64; m7i.large cannot run it" in refused(text, arm)
    ubuntu = replace(FACTS, images={"ami-1": ImageFacts(architecture="x86_64", root_device="/dev/sda1")})
    assert resolved(text, ubuntu).machine.root_device == "/dev/sda1"


def test_a_share_of_the_on_demand_price_is_a_limit_for_each_type() -> None:
    types = ["g4dn.metal", "m7i.large"]
    pool = resolved(pool_of(instance_types=types, spot=True, spot_max_price="60%"))
    assert [pool.price_limit(kind) for kind in pool.types] == [Decimal("4.6944"), Decimal("0.0604")]
    assert "spot_max_percent: - -> 60%" in changes(resolved(pool_of(instance_types=types, spot=True)), pool)
    assert Pool.from_document(pool.to_document()) == pool


def test_a_share_of_an_unknown_price_is_told_at_apply() -> None:
    text = pool_of(instance_type="x9.large", instance_slots=1, spot=True, spot_max_price="60%")
    assert "no on-demand price for x9.large; write the limit in dollars" in refused(text)


@pytest.mark.parametrize("share", ["0%", "1001%"])
def test_a_share_out_of_bounds_is_refused(share: str) -> None:
    assert (
        "above 0% and at most 1000%"
        in problems_of(pool_of(instance_type="m7i.large", spot=True, spot_max_price=share))[0]
    )


DAY = {"name": "day", "start": "0 9 * * mon-fri", "duration": "8h", "timezone": "Europe/Berlin", "min_instances": 2}


def scheduled(**changes: object) -> str:
    return pool_of(instance_type="g4dn.metal", spot=True, schedules=[{**DAY, **changes}])


def test_a_schedule_is_read_and_kept() -> None:
    pool = resolved(scheduled(spot_max_price="50%", max_instances=9))
    (day,) = pool.schedules
    assert (day.start, day.timezone, day.min_instances, day.spot_max_percent) == (
        *("0 9 * * mon-fri", "Europe/Berlin", 2, Decimal(50)),
    )
    assert Pool.from_document(pool.to_document()) == pool
    assert "at most 5 instances, $70.42 per hour" in cost_line(pool)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": "0 9 * *"}, "has 4 fields"),
        ({"start": "0 9 30 2 *"}, "never comes"),
        ({"timezone": "Berlin"}, "is not an IANA time zone"),
        ({"timezone": "/etc/passwd"}, "is not an IANA time zone"),
        ({"duration": "800h"}, "at most 31 days"),
        ({"min_instances": None}, "changes nothing"),
    ],
)
def test_a_wrong_schedule_is_told(changes: dict[str, object], words: str) -> None:
    assert [problem for problem in problems_of(scheduled(**changes)) if words in problem]


def test_contradicting_schedules_are_told_with_their_first_instant() -> None:
    told = refused(scheduled(min_instances=6))
    assert "at 2026-11-23 08:00 UTC (day): min_instances 6 is above max_instances 5" in told
