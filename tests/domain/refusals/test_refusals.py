from datetime import timedelta
from decimal import Decimal
from itertools import permutations

import pytest

from lambdas.domain.fleet.fleet import OfferingMark
from lambdas.domain.reasons import ReasonClass
from lambdas.domain.refusals.refusal_table import RULES, SERVICE_LINKED_ROLE, UNKNOWN
from lambdas.domain.refusals.refusal_words import Prices, dollars, prices_in
from lambdas.domain.refusals.refusals import (
    Consequences,
    Refusal,
    consequences,
    cooldown,
    holds,
    reasons_of_marks,
    rule_for,
)
from lambdas.domain.settings import Settings
from tests.domain.build import NOW, ON_DEMAND, SPOT, ZONES, after, mark, request

PRICE = "Your Spot request price of 0.35 is lower than the minimum required Spot request fulfillment price of {}."
DENIED = (
    "You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/R/f is not"
    " authorized to perform: ec2:CreateFleet on resource: arn:aws:ec2:us-west-2:123456789012:fleet/* because no"
    " identity-based policy allows the ec2:CreateFleet action. Encoded authorization failure message: AbC-1_2"
)


def refusal(code: str, message: str = "", zone: str | None = ZONES[0], kind: str | None = "g4dn.metal") -> Refusal:
    return Refusal(code=code, message=message, capacity_type=SPOT, instance_type=kind, zone=zone)


def whole(code: str, message: str = "") -> Refusal:
    """An error of the whole call."""
    return refusal(code, message, None, None)


def follows(
    *refusals: Refusal, marks: tuple[OfferingMark, ...] = (), limit: str | None = "0.35", at: float = 0
) -> Consequences:
    return consequences(refusals, request=request(limit=limit), marks=marks, now=after(at), settings=Settings())


def places(result: Consequences) -> set[tuple[str, str]]:
    return {(each.instance_type, each.zone) for each in result.marks}


@pytest.mark.parametrize("code", sorted(RULES))
def test_every_code_has_a_rule_whatever_its_message(code: str) -> None:
    assert not rule_for(code, "a message that nobody has ever seen").unknown
    assert [rule.contains for rule in RULES[code]].index("") == len(RULES[code]) - 1


@pytest.mark.parametrize("rule", sorted({r for rules in RULES.values() for r in rules} | {UNKNOWN}, key=repr))
def test_every_remedy_is_a_sentence_and_every_rest_ends(rule: object) -> None:
    assert isinstance(rule, type(UNKNOWN))
    assert rule.remedy[0].isupper()
    assert rule.remedy[-1] == "."
    assert timedelta() < cooldown(rule, 1, Settings()) <= cooldown(rule, 99, Settings()) <= timedelta(days=1)


@pytest.mark.parametrize(
    ("code", "message", "reason_class", "scope"),
    [
        ("SpotMaxPriceTooLow", PRICE, "price", "offering"),
        ("InsufficientInstanceCapacity", "We currently do not have", "capacity", "offering"),
        ("InsufficientInstanceCapacity", "the limit of instances in this Spread Placement Group", "quota", "zone"),
        ("UnfulfillableCapacity", "", "capacity", "offering"),
        ("InsufficientFreeAddressesInSubnet", "", "capacity", "zone"),
        ("Unsupported", "", "capacity", "offering"),
        ("UnsupportedOperation", "", "configuration", "type"),
        ("InvalidFleetConfiguration", "not supported in your requested Availability Zone", "configuration", "offering"),
        ("MaxSpotInstanceCountExceeded", "", "quota", "capacity-type"),
        ("VcpuLimitExceeded", "", "quota", "capacity-type"),
        ("MaxFleetCountExceeded", "", "quota", "request"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "", "permission", "capacity-type"),
        ("UnauthorizedOperation", "", "permission", "capacity-type"),
        ("AuthFailure", "Not authorized for images: [ami-1]", "permission", "capacity-type"),
        ("PendingVerification", "", "permission", "capacity-type"),
        ("InvalidParameterValue", "Invalid IAM Instance Profile name", "configuration", "capacity-type"),
        ("InvalidParameterCombination", "not eligible for Free Tier", "permission", "capacity-type"),
        ("InvalidAMIID.NotFound", "", "configuration", "capacity-type"),
        ("RequestLimitExceeded", "", "throttling", "request"),
        ("InternalError", "", "transient", "request"),
        ("Unavailable", "", "transient", "request"),
        ("NobodyHasMetThis", "", "transient", "request"),
    ],
)
def test_codes_have_the_class_and_scope_of_the_table(code: str, message: str, reason_class: str, scope: str) -> None:
    rule = rule_for(code, message)
    assert (rule.reason_class, rule.scope) == (reason_class, scope)


def test_an_offering_without_capacity_alone_is_marked() -> None:
    assert places(follows(refusal("InsufficientInstanceCapacity"))) == {("g4dn.metal", ZONES[0])}


def test_an_error_of_the_whole_call_marks_every_offering_asked_for() -> None:
    assert places(follows(whole("UnfulfillableCapacity"))) == {("g4dn.metal", zone) for zone in ZONES}


def test_a_full_subnet_marks_its_zone_for_every_type() -> None:
    assert places(follows(refusal("InsufficientFreeAddressesInSubnet"))) == {("*", ZONES[0])}


@pytest.mark.parametrize("code", ["MaxSpotInstanceCountExceeded", "AuthFailure.ServiceLinkedRoleCreationNotPermitted"])
def test_quotas_and_the_missing_role_mark_the_capacity_type_and_nothing_of_the_other(code: str) -> None:
    result = follows(refusal(code))
    assert [(each.capacity_type, each.instance_type, each.zone) for each in result.marks] == [(SPOT, "*", "*")]


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "Throttling", "InternalError", "Unavailable", "NeverHeardOf"])
def test_throttling_and_faults_mark_nothing_and_hold_the_pool_for_a_while(code: str) -> None:
    result = follows(refusal(code))
    assert result.marks == ()
    (reason,) = result.reasons
    assert reason.next_attempt is not None
    assert NOW < reason.next_attempt <= after(60)
    assert holds(reason, NOW)
    assert not holds(reason, reason.next_attempt)


def test_holds_grow_with_each_refusal_seen_and_are_capped() -> None:
    def held(count: int) -> float:
        (known,) = follows(whole("RequestLimitExceeded")).reasons
        result = consequences(
            [whole("RequestLimitExceeded")],
            request=request(),
            marks=(),
            now=after(60),
            settings=Settings(),
            reasons=[type(known)(**{**{f: getattr(known, f) for f in known.__slots__}, "count": count})],
        )
        assert result.reasons[0].next_attempt is not None
        return (result.reasons[0].next_attempt - after(60)).total_seconds()

    assert [held(count) for count in (1, 2, 3, 50)] == [4, 8, 16, 60]


def test_an_unknown_code_is_counted_and_is_transient() -> None:
    result = follows(refusal("NobodyHasMetThis"), refusal("NobodyHasMetThis", zone=ZONES[1]), refusal("InternalError"))
    assert result.unknown_codes == ("NobodyHasMetThis",)
    assert {reason.reason_class for reason in result.reasons} == {ReasonClass.TRANSIENT}


def test_cool_downs_grow_with_strikes_in_a_row_and_are_capped() -> None:
    assert rests_of("InvalidKeyPair.NotFound") == [5 * 60, 10 * 60, 20 * 60, 30 * 60, 30 * 60, 30 * 60]


def test_what_has_no_capacity_is_asked_for_again_at_every_tick() -> None:
    assert rests_of("InsufficientInstanceCapacity") == [45] * 6


def rests_of(code: str) -> list[float]:
    """Seconds after each of six refusals in a row."""
    marks: tuple[OfferingMark, ...] = ()
    rests: list[float] = []
    at = 0.0
    for strike in range(1, 7):
        marks = follows(refusal(code), marks=marks, at=at).marks
        assert marks[0].strikes == strike
        rests.append((marks[0].until - after(at)).total_seconds())
        at += rests[-1] + 60
    return rests


def test_an_offering_left_alone_for_long_begins_anew() -> None:
    old = follows(refusal("InsufficientInstanceCapacity")).marks
    assert follows(refusal("InsufficientInstanceCapacity"), marks=old, at=3600).marks[0].strikes == 1


def test_another_code_begins_its_own_strikes() -> None:
    old = follows(refusal("InsufficientInstanceCapacity")).marks
    assert follows(refusal("SpotMaxPriceTooLow", PRICE.format("0.41")), marks=old, at=185).marks[0].strikes == 1


def test_the_same_answer_read_twice_is_one_strike() -> None:
    old = follows(refusal("InsufficientInstanceCapacity")).marks
    assert follows(refusal("InsufficientInstanceCapacity"), marks=old).marks == old


def test_the_settings_set_the_pace() -> None:
    quick = Settings().paced(10)
    assert cooldown(rule_for("InsufficientInstanceCapacity"), 1, quick) == timedelta(seconds=4.5)
    assert cooldown(rule_for("SpotMaxPriceTooLow"), 1, quick) == timedelta(seconds=30)


def test_both_prices_are_read_from_ec2s_words() -> None:
    assert prices_in(PRICE.format("0.41")) == Prices(limit=Decimal("0.35"), market=Decimal("0.41"))
    worded = (
        "Your Spot request price of 2.24208 is lower than the minimum required Spot request fulfillment price of 2.2421"
    )
    assert prices_in(worded) == Prices(limit=Decimal("2.24208"), market=Decimal("2.2421"))
    assert prices_in("Spot max price too low") is None


def test_a_price_mark_remembers_the_market_price() -> None:
    assert follows(refusal("SpotMaxPriceTooLow", PRICE.format("0.41"))).marks[0].last_price == Decimal("0.41")


def test_a_price_reason_names_the_cheapest_offering_and_the_limit_in_numbers() -> None:
    result = follows(
        refusal("SpotMaxPriceTooLow", PRICE.format("0.52"), ZONES[0]),
        refusal("SpotMaxPriceTooLow", PRICE.format("0.41"), ZONES[1]),
    )
    (reason,) = result.reasons
    assert reason.message == "cheapest offering $0.41 in us-west-2b (g4dn.metal), your limit is $0.35"
    assert (reason.instance_type, reason.availability_zone) == ("g4dn.metal", None)


def test_without_a_limit_of_ours_a_price_reason_takes_the_one_that_ec2_named() -> None:
    (reason,) = follows(refusal("SpotMaxPriceTooLow", PRICE.format("0.41")), limit=None).reasons
    assert "your limit is $0.35" in reason.message


def test_a_price_refusal_in_other_words_still_has_ec2s_words() -> None:
    (reason,) = follows(refusal("SpotMaxPriceTooLow", "too low")).reasons
    assert reason.message == "SpotMaxPriceTooLow: too low"


@pytest.mark.parametrize(
    ("price", "text"), [("0.41", "$0.41"), ("2.2421", "$2.2421"), ("3", "$3.00"), ("0.5000", "$0.50")]
)
def test_dollars_have_two_decimals_at_least(price: str, text: str) -> None:
    assert dollars(Decimal(price)) == text


def test_the_missing_role_names_the_command_to_copy() -> None:
    (reason,) = follows(refusal("AuthFailure.ServiceLinkedRoleCreationNotPermitted")).reasons
    assert SERVICE_LINKED_ROLE == "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
    assert f"`{SERVICE_LINKED_ROLE}`" in reason.remedy


def test_a_permission_reason_names_the_missing_action_and_why_it_is_missing() -> None:
    (reason,) = follows(whole("UnauthorizedOperation", DENIED)).reasons
    assert reason.message == (
        "not authorized to perform ec2:CreateFleet on arn:aws:ec2:us-west-2:123456789012:fleet/*: "
        "no policy of the role allows it"
    )
    assert "ec2:CreateFleet" in reason.remedy


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("with an explicit deny in a service control policy", "service control policy"),
        ("because no permissions boundary allows the x action", "permissions boundary"),
        ("with an explicit deny in an identity-based policy", "denies it explicitly"),
    ],
)
def test_what_denies_an_action_is_told(words: str, told: str) -> None:
    said = f"User: arn:x is not authorized to perform: iam:PassRole on resource: arn:y {words}"
    assert told in follows(whole("UnauthorizedOperation", said)).reasons[0].message


def test_an_encoded_message_comes_with_the_command_that_decodes_it() -> None:
    said = "You are not authorized to perform this operation. Encoded authorization failure message: AbC-1_2"
    (reason,) = follows(whole("UnauthorizedOperation", said)).reasons
    assert "`aws sts decode-authorization-message --encoded-message AbC-1_2`" in reason.remedy


def test_a_quota_reason_names_the_quota_of_the_instance_family() -> None:
    (reason,) = follows(refusal("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")).reasons
    assert "--quota-code L-3819A6DF" in reason.remedy
    (reason,) = follows(refusal("MaxSpotInstanceCountExceeded", kind="c7g.large")).reasons
    assert "--quota-code L-34B43A08" in reason.remedy


def test_the_most_actionable_reason_comes_first_in_whatever_order_ec2_answers() -> None:
    codes = ["InternalError", "InsufficientInstanceCapacity", "SpotMaxPriceTooLow", "MaxSpotInstanceCountExceeded"]
    codes += ["UnauthorizedOperation"]
    results = {
        follows(*(refusal(code, PRICE.format("0.41"), ZONES[n % 3]) for n, code in enumerate(order))).reasons[0].code
        for order in permutations(codes)
    }
    assert results == {"UnauthorizedOperation"}


def test_the_order_of_the_refusals_changes_nothing() -> None:
    given = [
        refusal("SpotMaxPriceTooLow", PRICE.format("0.41")),
        refusal("InsufficientInstanceCapacity", zone=ZONES[1]),
    ]
    given += [refusal("VcpuLimitExceeded", zone=ZONES[2]), whole("UnauthorizedOperation", DENIED)]
    assert len({(frozenset(r.marks), r.reasons) for r in (follows(*order) for order in permutations(given))}) == 1


def test_of_two_refusals_on_one_mark_the_graver_stays_for_the_longer_rest() -> None:
    result = follows(refusal("MaxSpotInstanceCountExceeded"), whole("UnauthorizedOperation", DENIED))
    (only,) = result.marks
    assert (only.code, only.until) == ("UnauthorizedOperation", after(600))


def test_an_on_demand_quota_leaves_spot_alone() -> None:
    refused = Refusal(code="VcpuLimitExceeded", message="", capacity_type=ON_DEMAND, instance_type="a", zone="b")
    assert {each.capacity_type for each in follows(refused).marks} == {ON_DEMAND}


def test_stored_marks_give_the_reasons_that_the_answer_gave() -> None:
    result = follows(
        refusal("SpotMaxPriceTooLow", PRICE.format("0.41")), refusal("InsufficientInstanceCapacity", zone=ZONES[1])
    )
    assert reasons_of_marks(result.marks, Decimal("0.35")) == result.reasons


def test_a_mark_of_every_offering_names_no_offering() -> None:
    everywhere = mark("MaxSpotInstanceCountExceeded", zone="*", instance_type="*")
    (reason,) = reasons_of_marks([everywhere], None)
    assert (reason.instance_type, reason.availability_zone) == (None, None)


def test_no_refusal_has_no_consequence() -> None:
    assert follows() == Consequences(marks=(), reasons=(), unknown_codes=())


def test_a_message_of_any_length_is_kept_short() -> None:
    result = follows(refusal("InsufficientInstanceCapacity", "x" * 100_000))
    assert len(result.marks[0].message) <= 1500
    assert len(result.reasons[0].message) < 500
