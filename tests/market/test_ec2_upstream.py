"""Why each replacement upstream is needed: these fail when it no longer is."""

import inspect

from lowtide.local import contract
from lowtide.local.contract import upstream
from lowtide.local.ec2 import ground
from tests.market.worlds import REGION


def test_stock_fleets_know_no_price_limit_and_no_refusal(local):
    source = inspect.getsource(upstream("services.ec2")._create_fleet)
    assert "MaxPrice" not in source
    assert "ClientToken" not in source


def test_the_stock_gate_checks_a_fleet_against_one_resource(local):
    find = upstream("core.iam_actions").extract_resource_arn
    query = {"Action": ["CreateFleet"]}
    assert find("ec2", "POST", "/", {}, b"Action=CreateFleet", query, REGION, "000000000000") == "*"


def test_stock_has_no_arm64_image_parameters(local):
    assert "al2023-ami-kernel-default-arm64" not in inspect.getsource(upstream("services.ssm"))


def test_everything_that_is_replaced_or_read_upstream_is_there(local):
    contract.check(ground.NAMES)
