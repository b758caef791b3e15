"""The start-up check of ministack's names."""

import pytest

from lowtide.local import contract
from lowtide.local.contract import Name, UpstreamChanged
from lowtide.local.replacements import Replacements


def test_the_pinned_ministack_has_every_name_that_is_replaced() -> None:
    contract.check()


def test_a_name_that_is_gone_and_one_with_other_parameters_are_both_told() -> None:
    with pytest.raises(UpstreamChanged) as raised:
        contract.check((Name("services.sqs", "_no_such"), Name("core.arn", "parse_arn", "other"), contract.NAMES[0]))
    assert "services.sqs._no_such is gone" in str(raised.value)
    assert "core.arn.parse_arn takes value" in str(raised.value)
    assert "make setup" in str(raised.value)


def test_what_was_replaced_comes_back_in_the_right_order() -> None:
    held = {"a": 1}
    replacements = Replacements()
    replacements.replace(held, "a", 2)
    replacements.replace(held, "a", 3)
    replacements.add(held, "b", 1)
    replacements.undo()
    assert held == {"a": 1}


def test_what_is_not_there_cannot_be_replaced() -> None:
    with pytest.raises(KeyError):
        Replacements().replace({}, "a", 1)
