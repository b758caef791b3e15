"""What a role may do, by condition keys that stock ministack does not resolve, and checks made on EC2's behalf."""

import json
import time
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError

from lowtide.local.world import World
from tests.local.conftest import role

TAGGED = {"StringEquals": {"ec2:ResourceTag/lowtide:stack": "Ours"}}


def as_role(world: World, service: str, policy: dict[str, Any], **forged: str) -> Any:
    """A client with an instance's credentials of a new role that has this one statement."""
    keys = {**world.role_credentials(role(world, policy, service="ec2.amazonaws.com"), "i-0123"), **forged}
    session: Any = boto3.session.Session()
    return session.client(
        service,
        region_name=world.region,
        endpoint_url=world.endpoint,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["Token"],
    )


def refused(call: Any, **arguments: Any) -> str | None:
    """The error code of a call; None if it was answered."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def volume(world: World, stack: str) -> str:
    tags = [{"Key": "lowtide:stack", "Value": stack}]
    answer = world.client("ec2").create_volume(
        AvailabilityZone="us-east-1a", Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )
    return answer["VolumeId"]


def test_an_instances_credentials_name_the_role_and_the_instance(world: World) -> None:
    caller = as_role(world, "sts", {"Action": "s3:ListAllMyBuckets", "Resource": "*"}).get_caller_identity()
    assert caller["Arn"].startswith(f"arn:aws:sts::{world.account}:assumed-role/role-")
    assert caller["Arn"].endswith("/i-0123")
    assert caller["UserId"].startswith("AROA")
    assert caller["UserId"].endswith(":i-0123")


@pytest.mark.parametrize("part", ["SecretAccessKey", "Token"])
def test_an_instances_credentials_cannot_be_forged(world: World, part: str) -> None:
    everything = {"Action": "*", "Resource": "*"}
    assert refused(as_role(world, "sqs", everything).list_queues) is None
    assert refused(as_role(world, "sqs", everything, **{part: "guessed"}).list_queues) is not None


def test_an_instance_profile_stands_for_its_role(world: World) -> None:
    iam, name = world.client("iam"), f"p-{uuid4().hex[:8]}"
    arn = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Arn"]
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=role(world).rsplit("/", 1)[-1])
    assert world.role_credentials(name, "i-1")["AccessKeyId"] != world.role_credentials(arn, "i-1")["AccessKeyId"]


def test_credentials_of_a_role_that_is_not_there_are_refused(world: World) -> None:
    with pytest.raises(LookupError, match="nobody"):
        world.role_credentials("nobody", "i-1")


def test_a_resource_tag_decides(world: World) -> None:
    ours, theirs = volume(world, "Ours"), volume(world, "Theirs")
    ec2 = as_role(world, "ec2", {"Action": "ec2:DeleteVolume", "Resource": "*", "Condition": TAGGED})
    assert refused(ec2.delete_volume, VolumeId=theirs) == "UnauthorizedOperation"
    assert refused(ec2.delete_volume, VolumeId=ours) is None


def test_the_namespace_of_a_metric_decides(world: World) -> None:
    condition = {"StringEquals": {"cloudwatch:namespace": "Ours"}}
    cloudwatch = as_role(
        world, "cloudwatch", {"Action": "cloudwatch:PutMetricData", "Resource": "*", "Condition": condition}
    )
    data = [{"MetricName": "M", "Value": 1.0}]
    assert refused(cloudwatch.put_metric_data, Namespace="Ours", MetricData=data) is None
    assert "AccessDenied" in str(refused(cloudwatch.put_metric_data, Namespace="Theirs", MetricData=data))


def test_a_batch_of_messages_is_sent_with_the_permission_to_send_one(world: World) -> None:
    url = world.client("sqs").create_queue(QueueName=f"q-{uuid4().hex}")["QueueUrl"]
    batch = {"QueueUrl": url, "Entries": [{"Id": "1", "MessageBody": "m"}]}
    assert (
        refused(as_role(world, "sqs", {"Action": "sqs:SendMessage", "Resource": "*"}).send_message_batch, **batch)
        is None
    )
    receiver = as_role(world, "sqs", {"Action": "sqs:ReceiveMessage", "Resource": "*"})
    assert refused(receiver.send_message_batch, **batch) == "AccessDenied"


def test_parameters_are_read_by_name_and_public_ones_belong_to_nobody(world: World) -> None:
    public = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    images = f"arn:aws:ssm:{world.region}::parameter/aws/service/ami-amazon-linux-latest/*"
    reader = as_role(world, "ssm", {"Action": "ssm:GetParameters", "Resource": images})
    assert refused(reader.get_parameters, Names=[public]) is None
    assert refused(reader.get_parameters, Names=[public, "/secret"]) == "AccessDeniedException"


def test_a_parameter_named_by_its_arn_is_checked_on_that(world: World) -> None:
    for name in ("/team/mine", "/team/other"):
        world.client("ssm").put_parameter(Name=name, Value="x", Type="String")
    arn = f"arn:aws:ssm:{world.region}:{world.account}:parameter/team/"
    reader = as_role(world, "ssm", {"Action": "ssm:GetParameter", "Resource": f"{arn}mine"})
    assert refused(reader.get_parameter, Name=f"{arn}mine") is None
    assert refused(reader.get_parameter, Name="/team/mine") is None
    assert refused(reader.get_parameter, Name=f"{arn}other") == "AccessDeniedException"


def test_the_leading_keys_of_every_kind_of_request_decide(world: World) -> None:
    table = f"t-{uuid4().hex[:8]}"
    world.client("dynamodb").create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    condition = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["mine*"]}}
    dynamodb = as_role(world, "dynamodb", {"Action": "dynamodb:*", "Resource": "*", "Condition": condition})

    def all_calls(key: str) -> list[str | None]:
        item = {"pk": {"S": key}}
        put = {"Put": {"TableName": table, "Item": item}}
        return [
            refused(dynamodb.put_item, TableName=table, Item=item),
            refused(dynamodb.get_item, TableName=table, Key=item),
            refused(
                dynamodb.query,
                TableName=table,
                KeyConditionExpression="#k = :k",
                ExpressionAttributeNames={"#k": "pk"},
                ExpressionAttributeValues={":k": {"S": key}},
            ),
            refused(dynamodb.transact_write_items, TransactItems=[put]),
            refused(dynamodb.batch_get_item, RequestItems={table: {"Keys": [item]}}),
            refused(dynamodb.batch_write_item, RequestItems={table: [{"PutRequest": {"Item": item}}]}),
        ]

    assert all_calls("mine-1") == [None] * 6
    assert all_calls("yours-1") == ["AccessDeniedException"] * 6


def test_a_check_on_ec2s_behalf_follows_the_callers_policy_and_says_who_may_not_what(world: World) -> None:
    arn = role(world, {"Action": "ec2:RunInstances", "Resource": "*", "Condition": TAGGED}, service="ec2.amazonaws.com")
    keys = world.role_credentials(arn, "i-1")
    scope = f"{keys['AccessKeyId']}/20260101/us-east-1/ec2/aws4_request"
    headers = {"authorization": f"AWS4-HMAC-SHA256 Credential={scope}"}
    resource = f"arn:aws:ec2:us-east-1:{world.account}:instance/*"
    tag = "ec2:ResourceTag/lowtide:stack"
    assert world.enforce(headers, "ec2:RunInstances", resource, {tag: "Ours"}) is None
    denied = world.enforce(headers, "ec2:RunInstances", resource, {tag: "Theirs"})
    assert denied is not None
    assert f"is not authorized to perform: ec2:RunInstances on resource: {resource}" in denied.message
    assert "because no identity-based policy allows" in denied.message


def tagged_session(world: World, service: str, *statements: dict[str, Any], **tags: str) -> Any:
    """A client with an hour of a new role that has these statements, its session tagged."""
    iam, name = world.client("iam"), f"role-{uuid4().hex[:8]}"
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **one} for one in statements]}
    iam.put_role_policy(RoleName=name, PolicyName="only", PolicyDocument=json.dumps(allowed))
    given = [{"Key": key, "Value": value} for key, value in tags.items()]
    keys = world.client("sts").assume_role(RoleArn=arn, RoleSessionName="i-1", Tags=given)["Credentials"]
    return boto3.session.Session().client(
        service,  # type: ignore[call-overload]
        region_name=world.region,
        endpoint_url=world.endpoint,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )


OWN = "checkpoints/${aws:PrincipalTag/pool}/*"


def test_a_sessions_tag_stands_in_the_resources_and_conditions_of_its_policy(world: World) -> None:
    bucket = f"b-{uuid4().hex[:8]}"
    world.client("s3").create_bucket(Bucket=bucket)
    write = {"Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/{OWN}"}
    prefix = {"StringLike": {"s3:prefix": [OWN]}}
    look = {"Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}", "Condition": prefix}
    s3 = tagged_session(world, "s3", write, look, pool="gpu")
    assert refused(s3.put_object, Bucket=bucket, Key="checkpoints/gpu/job/x", Body=b"") is None
    assert refused(s3.put_object, Bucket=bucket, Key="checkpoints/cpu/job/x", Body=b"") == "AccessDenied"
    assert refused(s3.list_objects_v2, Bucket=bucket, Prefix="checkpoints/gpu/job/") is None
    assert refused(s3.list_objects_v2, Bucket=bucket, Prefix="checkpoints/") == "AccessDenied"
    untagged = tagged_session(world, "s3", write)
    assert refused(untagged.put_object, Bucket=bucket, Key="checkpoints//x", Body=b"") == "AccessDenied"


def test_a_log_stream_decides(world: World) -> None:
    group = f"g-{uuid4().hex[:8]}"
    logs = world.client("logs")
    logs.create_log_group(logGroupName=group)
    for stream in ("gpu/job/1", "cpu/job/1"):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    arn = f"arn:aws:logs:{world.region}:{world.account}:log-group:{group}"
    own = {"Action": "logs:PutLogEvents", "Resource": f"{arn}:log-stream:${{aws:PrincipalTag/pool}}/*"}
    session = tagged_session(world, "logs", own, {"Action": "logs:CreateLogStream", "Resource": f"{arn}:*"}, pool="gpu")
    events = [{"timestamp": int(time.time() * 1000), "message": "m"}]
    put = {"logGroupName": group, "logEvents": events}
    assert refused(session.put_log_events, **put, logStreamName="gpu/job/1") is None
    assert refused(session.put_log_events, **put, logStreamName="cpu/job/1") == "AccessDeniedException"
    assert refused(session.create_log_stream, logGroupName=group, logStreamName="gpu/job/2") is None


def test_events_are_told_of_the_source_that_the_policy_names_and_of_no_other(world: World) -> None:
    bus = f"arn:aws:events:{world.region}:{world.account}:event-bus/default"
    ours = {"ForAllValues:StringEquals": {"events:source": "lowtide"}}
    events = as_role(world, "events", {"Action": "events:PutEvents", "Resource": bus, "Condition": ours})

    def told(*sources: str) -> str | None:
        entries = [{"Source": source, "DetailType": "t", "Detail": "{}"} for source in sources]
        return refused(events.put_events, Entries=entries)

    assert told("lowtide", "lowtide") is None
    assert told("theirs") == "AccessDeniedException"
    assert told("lowtide", "theirs") == "AccessDeniedException"
