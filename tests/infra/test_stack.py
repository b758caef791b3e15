"""Storage, network, alarms, outputs, and how the stack goes away."""

import json
import re
from typing import Any

import pytest
from aws_cdk import assertions

from lambdas import names
from tests.infra.template import ACCOUNT, REGION, ROOT, ZONES, Template, actions, as_list, stack, synthesized, text

# --- storage ---


def test_the_table_is_keyed_indexed_and_forgetful_as_the_code_expects(template: Template) -> None:
    (table,) = template.properties("AWS::DynamoDB::GlobalTable")
    assert table["KeySchema"] == _keys(names.TABLE_PK, names.TABLE_SK)
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["TimeToLiveSpecification"] == {"AttributeName": names.TABLE_TTL, "Enabled": True}
    (index,) = table["GlobalSecondaryIndexes"]
    assert index["IndexName"] == names.INDEX
    assert index["KeySchema"] == _keys(names.INDEX_PK, names.INDEX_SK)
    assert index["Projection"] == {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(names.INDEX_ATTRIBUTES)}
    (replica,) = table["Replicas"]
    assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def _keys(pk: str, sk: str) -> list[dict[str, str]]:
    return [{"AttributeName": pk, "KeyType": "HASH"}, {"AttributeName": sk, "KeyType": "RANGE"}]


def test_the_bucket_is_private_encrypted_and_takes_tls_only(template: Template) -> None:
    (bucket,) = template.properties("AWS::S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    (policy,) = template.properties("AWS::S3::BucketPolicy")
    refused = [s["Condition"] for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Deny"]
    assert {"Bool": {"aws:SecureTransport": "false"}} in refused


def test_what_nobody_will_read_again_leaves_the_bucket(template: Template) -> None:
    (bucket,) = template.properties("AWS::S3::Bucket")
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}
    assert (rules["checkpoints"]["Prefix"], rules["checkpoints"]["ExpirationInDays"]) == ("checkpoints/", 90)
    assert (rules["inputs"]["Prefix"], rules["inputs"]["ExpirationInDays"]) == ("inputs/", names.INPUTS_KEPT_DAYS)
    assert {rule["Status"] for rule in rules.values()} == {"Enabled"}


@pytest.mark.parametrize(("retention", "policy"), [("keep", "Retain"), ("delete", "Delete")])
def test_table_and_bucket_outlive_the_stack_unless_the_owner_says_otherwise(retention: str, policy: str) -> None:
    template = synthesized(retention=retention)
    kept = {r["Type"] for r in template.resources.values() if r.get("DeletionPolicy", "Delete") == "Retain"}
    data = {"AWS::DynamoDB::GlobalTable", "AWS::S3::Bucket"}
    assert kept == (data if policy == "Retain" else set())


def test_what_outlives_the_stack_is_named_in_the_output_and_to_the_teardown(template: Template) -> None:
    (table,) = template.of_type("AWS::DynamoDB::GlobalTable")
    (bucket,) = template.of_type("AWS::S3::Bucket")
    (teardown,) = template.properties("Custom::LowtideInstances")
    said = f"table {{{table}}}, bucket {{{bucket}}}"
    assert text(template.content["Outputs"][names.OUTPUT_RETAINED]["Value"]) == said
    assert text(teardown[names.PROPERTY_RETAINED]) == said
    assert teardown[names.PROPERTY_EMPTIED] == ""


def test_a_bucket_that_goes_is_emptied_by_the_teardown_alone() -> None:
    template = synthesized(retention="delete")
    (bucket,) = template.of_type("AWS::S3::Bucket")
    (teardown,) = template.properties("Custom::LowtideInstances")
    assert (teardown[names.PROPERTY_EMPTIED], teardown[names.PROPERTY_RETAINED]) == ({"Ref": bucket}, "nothing")
    assert template.content["Outputs"][names.OUTPUT_RETAINED]["Value"] == "nothing"
    listing, deleting = (template.statement("teardown", sid) for sid in ("ListWhatGoes", "DeleteWhatGoes"))
    assert (actions(listing), text(listing["Resource"])) == (["s3:ListBucketVersions"], f"{{{bucket}.Arn}}")
    assert text(deleting["Resource"]) == f"{{{bucket}.Arn}}/*"
    assert set(actions(deleting)) == {"s3:DeleteObject", "s3:DeleteObjectVersion"}


def test_from_a_bucket_that_stays_nobody_may_delete_but_workers_their_pools_checkpoints(template: Template) -> None:
    deleting = [s for _, s in template.policies() if any(a.startswith("s3:Delete") for a in actions(s))]
    assert [s["Sid"] for s in deleting] == ["KeepCheckpoints"]
    assert text(deleting[0]["Resource"]).endswith("/checkpoints/${aws:PrincipalTag/pool}/*")


# --- network ---


def test_its_own_network_has_a_public_subnet_in_every_zone_and_no_nat_gateway(template: Template) -> None:
    subnets = template.properties("AWS::EC2::Subnet")
    assert sorted(s["AvailabilityZone"] for s in subnets) == sorted(ZONES)
    assert {s["MapPublicIpOnLaunch"] for s in subnets} == {True}
    assert not template.of_type("AWS::EC2::NatGateway")
    assert not template.of_type("AWS::EC2::EIP")


def test_s3_and_dynamodb_are_reached_through_gateway_endpoints_from_every_subnet(template: Template) -> None:
    endpoints = template.properties("AWS::EC2::VPCEndpoint")
    assert {text(e["ServiceName"]).rsplit(".", 1)[-1] for e in endpoints} == {"s3", "dynamodb"}
    for endpoint in endpoints:
        assert endpoint["VpcEndpointType"] == "Gateway"
        assert len(endpoint["RouteTableIds"]) == len(ZONES)


def test_zones_can_be_named() -> None:
    subnets = synthesized(zones="us-east-1b,us-east-1d").properties("AWS::EC2::Subnet")
    assert sorted(s["AvailabilityZone"] for s in subnets) == ["us-east-1b", "us-east-1d"]


def _vpc(**zones: str) -> dict[str, Any]:
    """What CDK's look-up remembers of a VPC with these subnets (id: zone), all private."""
    return {
        f"vpc-provider:account={ACCOUNT}:filter.vpc-id=vpc-1:region={REGION}:returnAsymmetricSubnets=true": {
            "vpcId": "vpc-1",
            "vpcCidrBlock": "10.0.0.0/16",
            "ownerAccountId": ACCOUNT,
            "availabilityZones": [],
            "subnetGroups": [
                {
                    "name": "Private",
                    "type": "Private",
                    "subnets": [
                        {"subnetId": name, "cidr": "10.0.0.0/24", "availabilityZone": zone, "routeTableId": "rtb-1"}
                        for name, zone in zones.items()
                    ],
                }
            ],
        },
        "vpc_id": "vpc-1",
    }


def test_an_owners_private_subnets_are_used_as_they_are() -> None:
    context = {**_vpc(one="us-east-1a", two="us-east-1b", three="us-east-1b"), "subnet_ids": "one,two"}
    template = Template(assertions.Template.from_stack(stack(context)).to_json())
    variables = template.function("reconcile")[1]["Environment"]["Variables"]
    assert json.loads(variables[names.ENV_SUBNETS]) == {"us-east-1a": "one", "us-east-1b": "two"}
    (group,) = template.properties("AWS::EC2::SecurityGroup")
    assert group["VpcId"] == "vpc-1"
    assert not template.of_type("AWS::EC2::VPC")
    assert not template.of_type("AWS::EC2::Subnet")


@pytest.mark.parametrize(
    ("subnet_ids", "words"),
    [
        ("two,three", "two and three are both in us-east-1b; name one per zone"),
        ("one,four", "subnet four is not in vpc-1, which has one, three, two"),
    ],
)
def test_subnets_that_cannot_serve_fail_the_synthesis(subnet_ids: str, words: str) -> None:
    context = {**_vpc(one="us-east-1a", two="us-east-1b", three="us-east-1b"), "subnet_ids": subnet_ids}
    errors = assertions.Annotations.from_stack(stack(context)).find_error("*", assertions.Match.any_value())
    assert [words in error.entry.data for error in errors] == [True]


# --- alarms ---


FAULTS = ("Errors", "Throttles")


def alarms(template: Template) -> dict[str, dict[str, Any]]:
    """Alarms by the metric they watch: of those that watch it in every function, by the first."""
    found: dict[str, dict[str, Any]] = {}
    for alarm in template.properties("AWS::CloudWatch::Alarm"):
        several = (query["MetricStat"]["Metric"] for query in alarm.get("Metrics", ()) if "MetricStat" in query)
        found[alarm.get("MetricName") or next(several)["MetricName"]] = alarm
    return found


def test_each_alarm_but_the_functions_watches_one_metric_of_this_stack() -> None:
    watched = alarms(synthesized(stack="Night"))
    for fault in FAULTS:
        assert "Metrics" in watched.pop(fault)
    for alarm in watched.values():
        assert "Metrics" not in alarm, "neither metric maths nor composites"
        assert alarm["Namespace"] == names.NAMESPACE
        assert alarm["Dimensions"] == [{"Name": names.DIMENSION_STACK, "Value": "Night"}]


@pytest.mark.parametrize(
    "metric",
    [names.METRIC_UNFULFILLED_TOO_LONG, names.METRIC_BLOCKED, names.METRIC_PARKED, names.METRIC_UNKNOWN_ERRORS],
)
def test_one_pool_or_message_is_enough_for_an_alarm_within_a_minute(template: Template, metric: str) -> None:
    alarm = alarms(template)[metric]
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")
    assert (alarm["Period"], alarm["EvaluationPeriods"], alarm["Statistic"]) == (60, 1, "Maximum")
    assert alarm["TreatMissingData"] == "ignore"


def test_five_minutes_without_a_completed_tick_are_an_alarm_also_when_there_is_no_data_at_all(
    template: Template,
) -> None:
    alarm = alarms(template)[names.METRIC_TICKS]
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "LessThanThreshold")
    assert (alarm["Period"], alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (60, 5, 5)
    assert alarm["TreatMissingData"] == "breaching"


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_of_any_function_that_runs_while_the_stack_lives_is_an_alarm_and_a_throttle_of_those_called_most(
    template: Template, fault: str
) -> None:
    alarm = alarms(template)[fault]
    watched = [query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query]
    (expression,) = (query for query in alarm["Metrics"] if "Expression" in query)
    working = set(template.of_type("AWS::Lambda::Function")) - {template.function("teardown")[0]}
    busiest = {template.function(name)[0] for name in ("intake", "reconcile", "worker_api")}
    assert {(m["Metric"]["MetricName"], m["Metric"]["Dimensions"][0]["Value"]["Ref"]) for m in watched} == {
        (fault, function) for function in (working if fault == "Errors" else busiest)
    }
    assert len(watched) <= 10, "as many as CloudWatch takes in an alarm's expression"
    assert {(m["Period"], m["Stat"], m["Metric"]["Namespace"]) for m in watched} == {(60, "Sum", "AWS/Lambda")}
    assert expression["Expression"] == "SUM(FILL(METRICS(), 0))"
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")
    assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (5, 1)
    assert alarm["TreatMissingData"] == "notBreaching"


def test_every_alarm_says_what_to_do_and_where_the_runbook_says_more(template: Template) -> None:
    for alarm in alarms(template).values():
        assert "Do: " in alarm["AlarmDescription"]
        section = re.search(r"Runbook: docs/operations\.md#([a-z-]+)$", alarm["AlarmDescription"])
        assert section is not None
        assert section[1] in names.RUNBOOK_SECTIONS.values()


def test_every_section_that_an_alarm_names_is_in_the_runbook() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert set(names.RUNBOOK_SECTIONS.values()) <= {heading.lower().replace(" ", "-") for heading in headings}


def test_every_alarm_and_its_end_go_to_the_topic(template: Template) -> None:
    (topic,) = template.of_type("AWS::SNS::Topic")
    for alarm in alarms(template).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}]


def test_the_topic_takes_alarms_of_this_account_and_tls_only(template: Template) -> None:
    (policy,) = template.properties("AWS::SNS::TopicPolicy")
    statements = policy["PolicyDocument"]["Statement"]
    (allow,) = (s for s in statements if s["Effect"] == "Allow")
    assert allow["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allow["Action"] == "sns:Publish"
    assert allow["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    (deny,) = (s for s in statements if s["Effect"] == "Deny")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_an_alarms_command_names_a_stack_that_is_not_the_default(template: Template) -> None:
    for named, option in ((template, ""), (synthesized(stack="Night"), " --stack Night")):
        told = [
            alarm["AlarmDescription"] for alarm in alarms(named).values() if "`lowtide" in alarm["AlarmDescription"]
        ]
        assert len(told) == 4
        assert all(re.search(rf"`lowtide [^`-]+{option}`", text) for text in told)


# --- outputs ---


def test_the_outputs_are_those_of_the_contract(template: Template) -> None:
    assert set(template.content["Outputs"]) == {
        value for name, value in vars(names).items() if name.startswith("OUTPUT_")
    }


def test_the_settings_that_the_functions_have_are_told_to_the_command_line() -> None:
    changed = synthesized(settings='{"jobs_kept": 86400}', ec2_request_share="0.5")
    told = changed.content["Outputs"][names.OUTPUT_SETTINGS]["Value"]
    assert json.loads(told) == {"jobs_kept": 86400, "ec2_request_share": 0.5}
    _, function = changed.function("reconcile")
    assert function["Environment"]["Variables"][names.ENV_SETTINGS] == told


def test_nothing_has_a_name_of_its_own_so_that_several_stacks_can_stand_in_one_account(template: Template) -> None:
    fixed = {
        *("TableName", "BucketName", "QueueName", "TopicName", "RoleName", "ManagedPolicyName", "FunctionName"),
        *("LogGroupName", "LaunchTemplateName", "AlarmName", "DashboardName", "InstanceProfileName", "GroupName"),
    }
    named_by_another = {"AWS::Lambda::Permission", "AWS::Lambda::EventSourceMapping", "AWS::Lambda::EventInvokeConfig"}
    assert [
        name
        for name, r in template.resources.items()
        if r["Type"] not in named_by_another and fixed & r.get("Properties", {}).keys()
    ] == []


def test_nothing_is_exported_since_an_exports_name_is_the_accounts(template: Template) -> None:
    assert [name for name, output in template.content["Outputs"].items() if "Export" in output] == []


def test_of_two_stacks_in_one_account_neither_may_touch_what_is_the_others() -> None:
    """What a statement says of the account's resources by wildcard, it says of those with the stack's own tag."""
    template = synthesized(stack="Night")
    wide = [
        statement
        for _, statement in template.policies()
        if any(re.fullmatch(rf"arn:aws:ec2:{REGION}:{ACCOUNT}:.*\*", text(r)) for r in as_list(statement["Resource"]))
    ]
    assert len(wide) > 8
    for statement in wide:
        tags = {k.rpartition("/")[2]: v for k, v in statement.get("Condition", {}).get("StringEquals", {}).items()}
        if statement["Sid"] == "LaunchFrom":
            kinds = {text(r).split(":")[5] for r in as_list(statement["Resource"]) if text(r).endswith("*")}
            assert kinds == {"key-pair/*", "image/*", "snapshot/*"}, "the owner's, whatever stack"
        else:
            assert tags[names.TAG_STACK] == "Night", statement["Sid"]


# --- going away ---


def test_instances_end_before_anything_else_of_the_stack_is_deleted(template: Template) -> None:
    (teardown,) = template.of_type("Custom::LowtideInstances")
    assert template.needs(teardown) == template.resources.keys() - {teardown}


def test_nothing_waits_for_the_end_of_instances_by_mistake(template: Template) -> None:
    (teardown,) = template.of_type("Custom::LowtideInstances")
    assert [name for name in template.resources if name != teardown and teardown in template.needs(name)] == []


def test_the_end_of_instances_has_a_bound_that_its_function_keeps(template: Template) -> None:
    (resource,) = template.properties("Custom::LowtideInstances")
    name, function = template.function("teardown")
    assert resource["ServiceToken"] == {"Fn::GetAtt": [name, "Arn"]}
    assert int(resource["ServiceTimeout"]) >= function["Timeout"] == 900
