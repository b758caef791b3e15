"""The functions, their queues, their events and their rights on data."""

import json
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import keys
from tests.infra.template import ACCOUNT, REGION, Template, actions, as_list, synthesized, text

HANDLERS = ("intake", "tick", "reconcile", "news", "worker_api", "catalogue", "job_events", "notices", "teardown")
NO_RESOURCES = {
    *("ec2:DescribeInstances", "ec2:DescribeSpotPriceHistory"),
    *("ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions"),
    *("ec2:DescribeInstanceTypes", "pricing:GetProducts", "servicequotas:GetServiceQuota"),
}
"""Actions that know no resources: IAM takes nothing but `*`."""
LEAVE_A_LETTER = {"sqs:SendMessage", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"}
"""What CDK lets a function do with the queue of what it failed on."""


def mappings(template: Template) -> dict[str, dict[str, Any]]:
    """Event source mappings by the logical id of their queue."""
    found = template.properties("AWS::Lambda::EventSourceMapping")
    return {m["EventSourceArn"]["Fn::GetAtt"][0]: m for m in found if "StartingPosition" not in m}


def queue(template: Template, part: str) -> tuple[str, dict[str, Any]]:
    ((name, found),) = (
        (n, r["Properties"])
        for n, r in template.of_type("AWS::SQS::Queue").items()
        if n.startswith(f"Queues{part}") and not n.startswith(f"Queues{part}Failed")
    )
    return name, found


# --- functions ---


def test_there_is_one_function_for_each_handler_and_no_other(template: Template) -> None:
    found = {f["Handler"] for f in template.properties("AWS::Lambda::Function")}
    assert found == {f"lambdas.handlers.{name}.handler" for name in HANDLERS}


@pytest.mark.parametrize(("python", "arch"), [("3.13", "arm64"), ("3.11", "x86_64")])
def test_runtime_and_architecture_are_chosen_together(python: str, arch: str) -> None:
    functions = synthesized(python=python, arch=arch).properties("AWS::Lambda::Function")
    assert {(f["Runtime"], *f["Architectures"]) for f in functions} == {(f"python{python}", arch)}


def test_all_functions_share_one_bundle(template: Template) -> None:
    assert len({json.dumps(f["Code"]) for f in template.properties("AWS::Lambda::Function")}) == 1


def test_every_function_knows_its_stack_its_table_and_its_settings() -> None:
    template = synthesized(stack="Night", settings='{"lease": 300}')
    (table,) = template.of_type("AWS::DynamoDB::GlobalTable")
    for function in template.properties("AWS::Lambda::Function"):
        variables = function["Environment"]["Variables"]
        assert variables[names.ENV_STACK] == "Night"
        assert variables[names.ENV_TABLE] == {"Ref": table}
        assert json.loads(variables[names.ENV_SETTINGS]) == {"lease": 300}


def test_every_environment_variable_is_a_name_that_the_code_knows(template: Template) -> None:
    known = {value for key, value in vars(names).items() if key.startswith("ENV_")}
    for function in template.properties("AWS::Lambda::Function"):
        assert function["Environment"]["Variables"].keys() <= known


def test_reconcile_knows_one_subnet_for_each_zone(template: Template) -> None:
    variables = template.function("reconcile")[1]["Environment"]["Variables"]
    subnets = json.loads(text(variables[names.ENV_SUBNETS]))
    assert sorted(subnets) == [f"{REGION}{letter}" for letter in "abcdef"]
    assert len(set(subnets.values())) == 6


def test_who_asks_for_a_pass_knows_the_reconcile_queue_and_may_send_to_it(template: Template) -> None:
    name, _ = queue(template, "Reconcile")
    for handler in ("intake", "tick", "reconcile", "news", "worker_api"):
        assert template.function(handler)[1]["Environment"]["Variables"][names.ENV_RECONCILE_QUEUE] == {"Ref": name}
        assert f"{{{name}.Arn}}" in {text(r) for r in as_list(template.statement(handler, "Send")["Resource"])}


def test_all_functions_log_to_the_group_that_the_output_names(template: Template) -> None:
    output = template.content["Outputs"][names.OUTPUT_CONTROL_LOG_GROUP_NAME]["Value"]
    for function in template.properties("AWS::Lambda::Function"):
        assert function["LoggingConfig"]["LogGroup"] == output


def test_log_lines_are_json_with_everything_from_info_up(template: Template) -> None:
    for function in template.properties("AWS::Lambda::Function"):
        assert function["LoggingConfig"]["LogFormat"] == "JSON"
        assert function["LoggingConfig"]["ApplicationLogLevel"] == "INFO"


@pytest.mark.parametrize(("option", "days"), [(None, 30), ("7", 7)])
def test_log_lines_are_kept_for_as_long_as_the_owner_says(option: str | None, days: int) -> None:
    groups = synthesized(**({"log_days": option} if option else {})).of_type("AWS::Logs::LogGroup").values()
    assert len(groups) == 2
    assert {g["Properties"]["RetentionInDays"] for g in groups} == {days}
    assert {g["DeletionPolicy"] for g in groups} == {"Delete"}


# --- queues ---


def test_a_message_stays_hidden_six_times_as_long_as_its_function_may_run(template: Template) -> None:
    for name, mapping in mappings(template).items():
        function = template.resources[mapping["FunctionName"]["Ref"]]["Properties"]
        assert template.resources[name]["Properties"]["VisibilityTimeout"] >= 6 * function["Timeout"]


def test_every_queue_takes_a_mebibyte_keeps_it_fourteen_days_encrypted(template: Template) -> None:
    for properties in template.properties("AWS::SQS::Queue"):
        assert properties["MaximumMessageSize"] == 1024 * 1024
        assert properties["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert properties["SqsManagedSseEnabled"] is True


def test_every_queue_refuses_requests_without_tls(template: Template) -> None:
    refusing = {
        name["Ref"]
        for policy in template.properties("AWS::SQS::QueuePolicy")
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        and statement["Action"] == "sqs:*"
        for name in policy["Queues"]
    }
    assert refusing == template.of_type("AWS::SQS::Queue").keys()


def test_passes_queue_in_order_for_each_pool_and_side_by_side_between_pools(template: Template) -> None:
    _, properties = queue(template, "Reconcile")
    assert properties["FifoQueue"] is True
    assert properties["DeduplicationScope"] == "messageGroup"
    assert properties["FifoThroughputLimit"] == "perMessageGroupId"
    assert "ContentBasedDeduplication" not in properties, "the deduplication id names the cause, never the body"


def test_a_pass_whose_function_dies_again_and_again_leaves_the_queue(template: Template) -> None:
    _, properties = queue(template, "Reconcile")
    redrive = properties["RedrivePolicy"]
    dead_letters = template.resources[redrive["deadLetterTargetArn"]["Fn::GetAtt"][0]]["Properties"]
    assert dead_letters["FifoQueue"] is True
    assert redrive["maxReceiveCount"] == 3


def test_no_fault_of_ours_ever_takes_a_job_off_its_queue(template: Template) -> None:
    _, jobs = queue(template, "Jobs")
    assert "RedrivePolicy" not in jobs
    assert "FifoQueue" not in jobs


def test_intake_takes_ten_jobs_at_once_and_gives_back_only_those_that_failed(template: Template) -> None:
    mapping = mappings(template)[queue(template, "Jobs")[0]]
    assert mapping["FunctionName"] == {"Ref": template.function("intake")[0]}
    assert mapping["BatchSize"] == 10
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_reconcile_takes_one_pass_at_a_time(template: Template) -> None:
    mapping = mappings(template)[queue(template, "Reconcile")[0]]
    assert mapping["FunctionName"] == {"Ref": template.function("reconcile")[0]}
    assert mapping["BatchSize"] == 1


# --- events ---


def rules(template: Template) -> dict[str, dict[str, Any]]:
    """Rules by what they listen to."""
    return {
        (r.get("ScheduleExpression") or r["EventPattern"]["detail-type"][0]): r
        for r in template.properties("AWS::Events::Rule")
    }


def test_the_tick_and_the_worker_apis_pulse_come_every_minute(template: Template) -> None:
    rule = rules(template)["rate(1 minute)"]
    assert rule["State"] == "ENABLED"
    called = {t["Arn"]["Fn::GetAtt"][0] for t in rule["Targets"]}
    assert called == {template.function(handler)[0] for handler in ("tick", "worker_api")}
    assert all("Input" not in t and "InputPath" not in t for t in rule["Targets"]), "the event itself, which is no HTTP"


def test_the_types_facts_and_prices_are_read_once_a_day_by_a_function_that_may_do_nothing_else(
    template: Template,
) -> None:
    rule = rules(template)["rate(1 day)"]
    assert [t["Arn"]["Fn::GetAtt"][0] for t in rule["Targets"]] == [template.function("catalogue")[0]]
    may = {action for s in template.statements("catalogue") for action in actions(s)}
    assert may == {
        *("ec2:DescribeInstanceTypes", "pricing:GetProducts"),
        *("dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem"),
        *("logs:CreateLogStream", "logs:PutLogEvents"),
        *LEAVE_A_LETTER,
    }


ALARMED = {"alarmed": {"M": {"code": {"S": [{"exists": True}]}}}}
OF_A_SHORTAGE = [
    {"dynamodb": {"Keys": {"sk": {"S": [keys.STATE]}}, "NewImage": ALARMED}},
    {"dynamodb": {"Keys": {"sk": {"S": [keys.STATE]}}, "OldImage": ALARMED}},
]
READS = {f"dynamodb:{read}" for read in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")}
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}


def followed(template: Template, handler: str) -> list[Any]:
    """What the function wants of the table's stream, which it is called from."""
    name, _ = template.function(handler)
    [mapping] = [
        m for m in template.properties("AWS::Lambda::EventSourceMapping") if m["FunctionName"] == {"Ref": name}
    ]
    (table,) = template.of_type("AWS::DynamoDB::GlobalTable")
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": [table, "StreamArn"]}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    return [json.loads(each["Pattern"]) for each in mapping["FilterCriteria"]["Filters"]]


def test_every_turn_of_a_shortage_goes_to_a_function_that_may_publish_on_the_alarm_topic_and_nothing_else(
    template: Template,
) -> None:
    wanted = followed(template, "notices")
    assert wanted == OF_A_SHORTAGE
    (topic,) = template.of_type("AWS::SNS::Topic")
    assert {action for s in template.statements("notices") for action in actions(s)} == {
        *(READS | LOGS | LEAVE_A_LETTER),
        "sns:Publish",
    }
    assert template.statement("notices", "TellPeople")["Resource"] == {"Ref": topic}
    _, function = template.function("notices")
    assert function["Environment"]["Variables"][names.ENV_ALARM_TOPIC] == {"Ref": topic}


def test_every_change_of_a_job_goes_to_a_function_that_may_tell_events_and_nothing_else(template: Template) -> None:
    wanted = followed(template, "job_events")
    of_a_job = {"eventName": ["INSERT", "MODIFY"], "dynamodb": {"Keys": {"sk": {"S": [keys.JOB]}}}}
    assert wanted == [of_a_job, *OF_A_SHORTAGE]
    (table,) = template.of_type("AWS::DynamoDB::GlobalTable")
    stream = template.resources[table]["Properties"]["StreamSpecification"]
    assert stream == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    may = {action for s in template.statements("job_events") for action in actions(s)}
    assert may == {*READS, *LOGS, *LEAVE_A_LETTER, "events:PutEvents"}
    telling = template.statement("job_events", "TellEvents")
    assert telling["Condition"] == {"ForAllValues:StringEquals": {"events:source": "lowtide"}}


@pytest.mark.parametrize(
    "detail_type",
    [
        "EC2 Spot Instance Interruption Warning",
        "EC2 Instance Rebalance Recommendation",
        "EC2 Instance State-change Notification",
    ],
)
def test_what_ec2_says_about_instances_goes_to_news(template: Template, detail_type: str) -> None:
    rule = rules(template)[detail_type]
    assert rule["EventPattern"]["source"] == ["aws.ec2"]
    assert [t["Arn"]["Fn::GetAtt"][0] for t in rule["Targets"]] == [template.function("news")[0]]


def test_every_state_but_pending_is_news(template: Template) -> None:
    pattern = rules(template)["EC2 Instance State-change Notification"]["EventPattern"]
    assert set(pattern["detail"]["state"]) == {"running", "shutting-down", "terminated", "stopping", "stopped"}


def test_each_rule_may_call_its_function_and_no_other_rule_may(template: Template) -> None:
    called = {
        (p["SourceArn"]["Fn::GetAtt"][0], p["FunctionName"]["Fn::GetAtt"][0])
        for p in template.properties("AWS::Lambda::Permission")
        if p["Principal"] == "events.amazonaws.com" and p["Action"] == "lambda:InvokeFunction"
    }
    assert called == {
        (name, target["Arn"]["Fn::GetAtt"][0])
        for name, rule in template.of_type("AWS::Events::Rule").items()
        for target in rule["Properties"]["Targets"]
    }


def test_a_failed_tick_or_beat_is_not_repeated_and_failed_news_twice(template: Template) -> None:
    tries = {
        c["FunctionName"]["Ref"]: (c["MaximumRetryAttempts"], c["MaximumEventAgeInSeconds"])
        for c in template.properties("AWS::Lambda::EventInvokeConfig")
    }
    assert tries == {
        template.function("tick")[0]: (0, 60),
        template.function("worker_api")[0]: (0, 60),
        template.function("news")[0]: (2, 600),
        template.function("catalogue")[0]: (2, 21600),
    }


def test_whatever_comes_asynchronously_and_is_not_taken_is_kept(template: Template) -> None:
    undelivered = {"Fn::GetAtt": [queue(template, "Undelivered")[0], "Arn"]}
    targets = [target for rule in template.properties("AWS::Events::Rule") for target in rule["Targets"]]
    assert [target["DeadLetterConfig"]["Arn"] for target in targets] == [undelivered] * len(targets)
    configured = template.properties("AWS::Lambda::EventInvokeConfig")
    assert {config["FunctionName"]["Ref"] for config in configured} == {t["Arn"]["Fn::GetAtt"][0] for t in targets}
    stream = [m for m in template.properties("AWS::Lambda::EventSourceMapping") if "StartingPosition" in m]
    for taking in [*configured, *stream]:
        assert taking["DestinationConfig"] == {"OnFailure": {"Destination": undelivered}}


def test_who_may_fail_may_leave_a_letter_and_of_eventbridge_only_the_stacks_own_rules(template: Template) -> None:
    name, _ = queue(template, "Undelivered")
    arn = f"{{{name}.Arn}}"
    writing = {
        handler
        for handler in HANDLERS
        for s in template.statements(handler)
        if "sqs:SendMessage" in actions(s) and arn in {text(r) for r in as_list(s["Resource"])}
    }
    assert writing == {"tick", "worker_api", "news", "catalogue", "job_events", "notices"}
    (policy,) = (p for p in template.properties("AWS::SQS::QueuePolicy") if {"Ref": name} in p["Queues"])
    allowed = [s for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Allow"]
    assert {s["Principal"]["Service"] for s in allowed} == {"events.amazonaws.com"}
    sources = {s["Condition"]["ArnEquals"]["aws:SourceArn"]["Fn::GetAtt"][0] for s in allowed}
    assert sources == set(template.of_type("AWS::Events::Rule"))


def test_a_tick_ends_before_the_next_begins(template: Template) -> None:
    assert template.function("tick")[1]["Timeout"] < 60


# --- rights ---


def test_no_statement_names_every_resource_where_the_action_knows_resources(template: Template) -> None:
    for name, statement in template.policies():
        if "*" in as_list(statement["Resource"]):
            assert set(actions(statement)) <= NO_RESOURCES, name


def test_no_statement_allows_an_action_by_wildcard(template: Template) -> None:
    assert [a for _, s in template.policies() for a in actions(s) if "*" in a] == []


def test_no_function_has_a_policy_of_awss_own(template: Template) -> None:
    assert [n for n, r in template.of_type("AWS::IAM::Role").items() if "ManagedPolicyArns" in r["Properties"]] == []


@pytest.mark.parametrize("handler", [each for each in HANDLERS if each not in ("job_events", "notices")])
def test_no_function_reads_the_whole_table_or_deletes_it(template: Template, handler: str) -> None:
    statement = template.statement(handler, "Records")
    may = {action.removeprefix("dynamodb:") for action in actions(statement)}
    assert may <= {
        *("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem"),
    }
    (table,) = template.of_type("AWS::DynamoDB::GlobalTable")
    assert {text(r) for r in as_list(statement["Resource"])} <= {f"{{{table}.Arn}}", f"{{{table}.Arn}}/index/by_kind"}


def test_who_asks_for_lists_may_read_the_index_and_nobody_else(template: Template) -> None:
    """`reconcile`: for waiting jobs with deadlines, however long the queue is."""
    (table,) = template.of_type("AWS::DynamoDB::GlobalTable")
    may = {
        handler
        for handler in HANDLERS
        for statement in template.statements(handler)
        if f"{{{table}.Arn}}/index/by_kind" in {text(r) for r in as_list(statement["Resource"])}
    }
    assert may == {"worker_api", "tick", "reconcile", "news", "teardown"}


@pytest.mark.parametrize("handler", ["intake", "news", "catalogue", "teardown"])
def test_who_has_nothing_to_forget_may_delete_no_record(template: Template, handler: str) -> None:
    assert "dynamodb:DeleteItem" not in actions(template.statement(handler, "Records"))


def test_only_intake_writes_to_the_parked_queue_and_takes_from_the_job_queue(template: Template) -> None:
    def who(part: str, action: str) -> set[str]:
        arn = f"{{{queue(template, part)[0]}.Arn}}"
        return {
            handler
            for handler in HANDLERS
            for s in template.statements(handler)
            if action in actions(s) and arn in {text(r) for r in as_list(s["Resource"])}
        }

    assert who("Parked", "sqs:SendMessage") == {"intake"}
    assert who("Jobs", "sqs:ReceiveMessage") == {"intake"}
    assert who("Reconcile", "sqs:ReceiveMessage") == {"reconcile"}


def test_a_function_writes_log_lines_to_its_own_group_alone(template: Template) -> None:
    name = template.content["Outputs"][names.OUTPUT_CONTROL_LOG_GROUP_NAME]["Value"]["Ref"]
    for handler in HANDLERS:
        (statement,) = (s for s in template.statements(handler) if actions(s)[0].startswith("logs:"))
        assert text(statement["Resource"]) == f"{{{name}.Arn}}"


def test_the_stack_stands_in_the_account_and_region_it_was_given(template: Template) -> None:
    for _, statement in template.policies():
        for resource in map(text, as_list(statement["Resource"])):
            if resource.startswith("arn:aws:ec2"):
                assert resource.startswith((f"arn:aws:ec2:{REGION}:{ACCOUNT}:", f"arn:aws:ec2:{REGION}::"))
