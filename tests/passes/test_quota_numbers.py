"""A quota's refusal as people read it: from EC2's bare words to the quota's name, its value and what is free."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from lambdas.adapters import keys
from lowtide.sim.calls import FailNext, Recorder, aws_error
from lowtide.sim.world import World
from tests.crash.deployed import MINUTE
from tests.crash.scenarios.launches import prepare_quota, raise_quota


def reason(of: World, code: str) -> dict[str, Any]:
    told = [reason for item in of.stored() if item["sk"] == keys.STATE for reason in item.get("reasons", ())]
    [found] = [reason for reason in told if reason["code"] == code]
    return found


def refused() -> World:
    of = prepare_quota()
    of.held.clear()
    assert of.run(lambda: any(item.get("reasons") for item in of.stored()), 2 * MINUTE)
    return of


def test_a_refusal_names_the_quota_the_vcpus_asked_for_those_held_and_the_headroom() -> None:
    told = reason(refused(), "MaxSpotInstanceCountExceeded")
    assert told["class"] == "quota"
    assert "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests (L-34B43A08) is 2" in told["message"]
    assert "vCPUs asked for" in told["message"]
    assert "are free" in told["message"]
    assert "--quota-code L-34B43A08" in told["remedy"]


def test_the_reason_says_the_same_as_long_as_the_mark_stands() -> None:
    of = refused()
    first = reason(of, "MaxSpotInstanceCountExceeded")["message"]
    of.run_for(timedelta(seconds=20))
    assert reason(of, "MaxSpotInstanceCountExceeded")["message"] == first


def test_a_quota_is_read_when_it_refuses_and_not_otherwise() -> None:
    of = prepare_quota()
    of.market.unkindness = replace(of.market.unkindness, spot_quotas={"Standard": 64})
    of.hook = recorder = Recorder()
    of.held.clear()
    of.run_for(2 * MINUTE)
    assert "ec2.create_fleet" in recorder.calls
    assert "service-quotas.get_service_quota" not in recorder.calls


@pytest.mark.parametrize("code", ["AccessDeniedException", "TooManyRequestsException"])
def test_a_quota_that_may_not_be_read_is_named_without_its_value(code: str) -> None:
    of = prepare_quota()
    of.hook = FailNext({"service-quotas.get_service_quota": [aws_error("GetServiceQuota", code, "no")] * 9})
    of.held.clear()
    assert of.run(lambda: any(item.get("reasons") for item in of.stored()), 2 * MINUTE)
    told = reason(of, "MaxSpotInstanceCountExceeded")
    assert "(L-34B43A08) cannot be read" in told["message"]
    assert "--quota-code L-34B43A08" in told["remedy"]


def test_a_raised_quota_ends_the_reason_and_the_jobs_run() -> None:
    of = refused()
    raise_quota(of)
    assert of.settle()
    assert [item for item in of.stored() if item["sk"] == keys.STATE and item.get("reasons")] == []
