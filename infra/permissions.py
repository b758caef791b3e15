"""What each role may do, as lists of statements. An instant fleet is authorised as its caller, once for every resource
it makes or uses, so launching takes one statement per kind of resource (docs/adr/0003-permissions.md)."""

from collections.abc import Mapping, Sequence

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3

from lambdas import names

LAUNCH = ("ec2:CreateFleet", "ec2:RunInstances")
MADE_BY_A_LAUNCH = ("fleet", "instance", "volume", "network-interface", "spot-instances-request")
PUBLIC_IMAGES = ("ami-amazon-linux-latest", "deeplearning/ami")
"""AWS's own parameters under /aws/service/ that say which image is the newest."""

WILDCARDS = {
    "MakeTagged": "What is launched has no id before the call; the condition asks for the stack's tag on it.",
    "TagAtLaunch": "What is launched has no id before the call; only tags of the call that makes it, the stack's among "
    "them, are let through.",
    "LaunchFrom": "Images, their snapshots and key pairs are the pool owner's choice, in a file that may change daily.",
    "LaunchFromTagged": "Who names a subnet, group or template in a pool tags it with the stack's name first.",
    "MakeTemplates": "A template has no id before it is made; the condition asks for the stack's tag on it.",
    "TagTemplates": "A template has no id before it is made; only tags of the call that makes it are let through.",
    "DeleteOwnTemplates": "Which templates there are is known at run time; the condition asks for the stack's tag.",
    "EndOwnInstances": "Which instances there are is known at run time; the condition asks for the stack's tag.",
    "ReadOwnConsoles": "Which instances there are is known at run time; the condition asks for the stack's tag.",
    "FindImages": "AWS's own public parameters, one for each kind of image and each version.",
    "Look": "These calls know no resources: IAM takes nothing but * for them.",
    "FetchInputs": "Inputs are named by their content.",
    "KeepCheckpoints": "Saves are named by their job; the session's tag holds them to its pool.",
    "WriteLog": "Streams are named by their job; the session's tag holds them to its pool.",
    "DeleteWhatGoes": "The bucket goes with the stack, and everything in it.",
}
"""By statement: why a wildcard in its resources is no wider than it must be."""

MAY_BE_TAGGED = ("launch-template", "subnet", "security-group")


def launching(
    stack: Stack,
    *,
    subnets: Sequence[ec2.ISubnet],
    security_group: ec2.ISecurityGroup,
    launch_template_ids: Sequence[str],
) -> list[iam.PolicyStatement]:
    """CreateFleet of instances that carry the stack's tag, from the stack's own templates, subnets and security group,
    and from those that carry its tag: who names a subnet or group of their own in a pool tags it first."""
    tagged = {"StringEquals": {f"aws:RequestTag/{names.TAG_STACK}": stack.stack_name}}
    made = [_ec2(stack, kind) for kind in MADE_BY_A_LAUNCH]
    used = [
        *(_ec2(stack, "subnet", subnet.subnet_id) for subnet in subnets),
        _ec2(stack, "security-group", security_group.security_group_id),
        *(_ec2(stack, "launch-template", template) for template in launch_template_ids),
        _ec2(stack, "key-pair"),
        *(
            stack.format_arn(service="ec2", account="", resource=kind, resource_name="*")
            for kind in ("image", "snapshot")
        ),
    ]
    at_launch = {"StringEquals": {**tagged["StringEquals"], "ec2:CreateAction": ["CreateFleet", "RunInstances"]}}
    return [
        _allow("MakeTagged", LAUNCH, made, tagged),
        _allow("LaunchFrom", LAUNCH, used),
        _allow("LaunchFromTagged", LAUNCH, [_ec2(stack, kind) for kind in MAY_BE_TAGGED], _mine(stack)),
        _allow("TagAtLaunch", ["ec2:CreateTags"], made, at_launch),
    ]


def keeping_templates(stack: Stack) -> list[iam.PolicyStatement]:
    """Making launch templates that carry the stack's tag, and looking at any."""
    tagged = {f"aws:RequestTag/{names.TAG_STACK}": stack.stack_name}
    template = [_ec2(stack, "launch-template")]
    at_making = {"StringEquals": {**tagged, "ec2:CreateAction": "CreateLaunchTemplate"}}
    return [
        _allow("MakeTemplates", ["ec2:CreateLaunchTemplate"], template, {"StringEquals": tagged}),
        _allow("TagTemplates", ["ec2:CreateTags"], template, at_making),
        deleting_templates(stack),
    ]


def deleting_templates(stack: Stack) -> iam.PolicyStatement:
    return _allow("DeleteOwnTemplates", ["ec2:DeleteLaunchTemplate"], [_ec2(stack, "launch-template")], _mine(stack))


def passing(roles: Sequence[str]) -> iam.PolicyStatement:
    """Giving these roles, by ARN, to instances and to nothing else."""
    to_instances = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    return _allow("GiveInstancesTheirRole", ["iam:PassRole"], roles, to_instances)


def terminating(stack: Stack) -> iam.PolicyStatement:
    return _allow("EndOwnInstances", ["ec2:TerminateInstances"], [_ec2(stack, "instance")], _mine(stack))


def reading_consoles(stack: Stack) -> iam.PolicyStatement:
    return _allow("ReadOwnConsoles", ["ec2:GetConsoleOutput"], [_ec2(stack, "instance")], _mine(stack))


def finding_images(stack: Stack) -> iam.PolicyStatement:
    parameters = [
        stack.format_arn(service="ssm", account="", resource="parameter", resource_name=f"aws/service/{family}/*")
        for family in PUBLIC_IMAGES
    ]
    return _allow("FindImages", ["ssm:GetParameters"], parameters)


def describing(*actions: str) -> iam.PolicyStatement:
    """Reading calls that know no resources: IAM takes nothing but `*` for them."""
    return _allow("Look", actions, ["*"])


def calling_the_worker_api(function_arn: str) -> list[iam.PolicyStatement]:
    """Both actions that a function URL asks for, and the function never without its URL."""
    signed = {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}
    by_url = {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}
    return [
        _allow("CallWorkerApi", ["lambda:InvokeFunctionUrl"], [function_arn], signed),
        _allow("CallWorkerApiFunction", ["lambda:InvokeFunction"], [function_arn], by_url),
    ]


def reading_objects(sid: str, bucket: s3.IBucket, *keys: str) -> iam.PolicyStatement:
    return _allow(sid, ["s3:GetObject"], [bucket.arn_for_objects(key) for key in keys])


def assuming(sid: str, *role_arns: str) -> iam.PolicyStatement:
    """Taking these roles, with tags on their sessions."""
    return _allow(sid, ["sts:AssumeRole", "sts:TagSession"], role_arns)


def keeping_jobs_data(bucket: s3.IBucket, log_group: logs.ILogGroup) -> list[iam.PolicyStatement]:
    """What a session of the data role may do, by the pool in its tags: that pool's checkpoints and log streams, and
    every input. CreateLogStream is authorised on the group alone, so that an empty stream may have any name."""
    pool = f"${{aws:PrincipalTag/{names.SESSION_POOL}}}"
    checkpoints = f"{names.PREFIX_CHECKPOINTS}{pool}/*"
    own = {"StringLike": {"s3:prefix": [checkpoints]}}
    return [
        _allow("FetchInputs", ["s3:GetObject"], [bucket.arn_for_objects(f"{names.PREFIX_INPUTS}*")]),
        _allow(
            "KeepCheckpoints",
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            [bucket.arn_for_objects(checkpoints)],
        ),
        _allow("ListCheckpoints", ["s3:ListBucket"], [bucket.bucket_arn], own),
        _allow("OpenLog", ["logs:CreateLogStream"], [log_group.log_group_arn]),
        _allow("WriteLog", ["logs:PutLogEvents"], [_log_streams(log_group, f"{pool}/*")]),
    ]


def _log_streams(log_group: logs.ILogGroup, pattern: str) -> str:
    return Stack.of(log_group).format_arn(
        service="logs",
        resource="log-group",
        resource_name=f"{log_group.log_group_name}:log-stream:{pattern}",
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )


def emptying(bucket: s3.IBucket) -> list[iam.PolicyStatement]:
    """Every object of a bucket that goes with its stack, and every version of one."""
    return [
        _allow("ListWhatGoes", ["s3:ListBucketVersions"], [bucket.bucket_arn]),
        _allow("DeleteWhatGoes", ["s3:DeleteObject", "s3:DeleteObjectVersion"], [bucket.arn_for_objects("*")]),
    ]


def on_table(table_arn: str, actions: Sequence[str], *, index: bool) -> iam.PolicyStatement:
    """The table's items by action (`GetItem`); a transaction is authorised by the actions in it."""
    resources = [table_arn, *([f"{table_arn}/index/{names.INDEX}"] if index else [])]
    return _allow("Records", [f"dynamodb:{action}" for action in actions], resources)


def reading_stream(stream_arn: str) -> iam.PolicyStatement:
    actions = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
    return _allow("ReadChanges", [f"dynamodb:{action}" for action in actions], [stream_arn])


def telling_events(stack: Stack) -> iam.PolicyStatement:
    """Events of the stack's own source alone, on the account's default bus; a call may hold several."""
    bus = stack.format_arn(service="events", resource="event-bus", resource_name="default")
    ours = {"ForAllValues:StringEquals": {"events:source": names.EVENT_SOURCE}}
    return _allow("TellEvents", ["events:PutEvents"], [bus], ours)


def publishing(topic_arn: str) -> iam.PolicyStatement:
    return _allow("TellPeople", ["sns:Publish"], [topic_arn])


def sending(*queue_arns: str) -> iam.PolicyStatement:
    return _allow("Send", ["sqs:SendMessage"], queue_arns)


def _mine(stack: Stack) -> dict[str, dict[str, str]]:
    return {"StringEquals": {f"ec2:ResourceTag/{names.TAG_STACK}": stack.stack_name}}


def _ec2(stack: Stack, kind: str, name: str = "*") -> str:
    return stack.format_arn(service="ec2", resource=kind, resource_name=name)


def _allow(
    sid: str,
    actions: Sequence[str],
    resources: Sequence[str],
    conditions: Mapping[str, Mapping[str, object]] | None = None,
) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid, actions=list(actions), resources=list(resources), conditions=conditions)
