import json
from datetime import timedelta
from typing import Any

import pytest

from infra import options
from infra.options import BOOT_POWER_OFF_SECONDS, Options
from lambdas.domain.settings import Settings
from tests.infra.template import ROOT


def read(context: dict[str, Any] | None = None, **environment: str) -> Options:
    return Options.read((context or {}).get, environment)


def test_without_options_it_is_the_default_stack_on_arm64_and_python_3_13_with_a_network_of_its_own() -> None:
    assert read() == Options(stack="Lowtide", python="3.13", arch="arm64", vpc_id=None, keep_data=True)


def test_the_stack_name_comes_from_the_option_before_the_environment() -> None:
    assert read(LOWTIDE_STACK="Night").stack == "Night"
    assert read({"stack": "Day"}, LOWTIDE_STACK="Night").stack == "Day"


def test_lists_come_from_the_command_line_or_from_cdk_json() -> None:
    assert read({"worker_roles": "a, team/b"}).worker_roles == ("a", "team/b")
    assert read({"worker_roles": ["a", "team/b"]}).worker_roles == ("a", "team/b")


def test_settings_pass_through_as_json_text() -> None:
    assert read({"settings": '{"lease": 300}'}).settings == '{"lease": 300}'
    assert read({"settings": {"lease": 300}}).settings == '{"lease": 300}'


@pytest.mark.parametrize("share", ["0.5", 0.5])
def test_the_stacks_part_of_ec2s_request_rate_is_a_setting_of_the_functions(share: Any) -> None:
    given = read({"ec2_request_share": share, "settings": '{"lease": 300}'}).settings
    assert Settings.from_json(given) == Settings(ec2_request_share=0.5, lease=timedelta(seconds=300))


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ({"python": "3.9"}, "-c python=3.9 is unknown; it takes 3.11, 3.12, 3.13."),
        ({"arch": "amd64"}, "-c arch=amd64 is unknown; it takes arm64, x86_64."),
        ({"retention": "forever"}, "it takes keep, delete"),
        ({"log_days": "12"}, "it takes 1, 7, 30, 90, 365"),
        ({"ec2_request_share": "half"}, "-c ec2_request_share=half is no part of a rate"),
        ({"ec2_request_share": 0}, "it takes a number above 0, at most 1"),
        ({"ec2_request_share": "1.5"}, "it takes a number above 0, at most 1"),
        ({"settings": "{lease: 3}"}, "-c settings is not JSON"),
        ({"settings": "[3]"}, "not an object"),
        ({"stack": "a_b"}, "-c stack=a_b is not a name"),
        ({"job_roles": "training"}, "-c job_roles=training is not a name"),
        (
            {"job_roles": "arn:aws:iam::111122223333:role/*"},
            "role/* is not a name",
        ),
        ({"worker_roles": "a*"}, "-c worker_roles=a* is not a name"),
        ({"vpc_id": "vpc-1"}, "go together"),
        ({"subnet_ids": "subnet-1"}, "go together"),
        ({"vpc_id": "vpc-1", "subnet_ids": "subnet-1,subnet-1"}, "names a subnet twice"),
    ],
)
def test_a_wrong_option_is_refused_with_its_value_and_what_it_takes(context: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=r"^-c ") as refused:
        read(context)
    assert words in str(refused.value)


def test_the_boot_timer_is_the_settings_own() -> None:
    assert Settings().boot_power_off.total_seconds() == BOOT_POWER_OFF_SECONDS
    assert read().boot_power_off_seconds == BOOT_POWER_OFF_SECONDS
    assert read({"settings": '{"boot_power_off": 45.5}'}).boot_power_off_seconds == 45.5


# --- names ---


def test_a_misspelt_option_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="-c worker_role is no option: did you mean worker_roles") as said:
        options.check_names(["stack", "worker_role"])
    assert "Correct it, or leave it out" in str(said.value)


def test_a_key_that_is_like_no_option_is_an_error_that_names_them_all() -> None:
    with pytest.raises(ValueError, match=r"-c max_priec is no option\. Correct it") as said:
        options.check_names(["max_priec"])
    assert all(name in str(said.value) for name in options.NAMES)


def test_every_option_may_be_given_and_what_cdk_itself_reads() -> None:
    flags = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    looked_up = "availability-zones:account=111122223333:region=us-east-1"
    switches = ("aws:cdk:enable-path-metadata", "aws-cdk:enableDiffNoFail", "cdk-migrate", "acknowledged-issue-numbers")
    options.check_names([*options.NAMES, *flags, looked_up, *switches])


def test_the_names_are_those_that_are_read() -> None:
    asked: set[str] = set()
    Options.read(asked.add, {})
    assert asked == set(options.NAMES)
