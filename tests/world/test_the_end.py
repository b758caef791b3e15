"""`cdk destroy` with jobs running: the last thing that happens to the stack."""

import time

import psutil

from lambdas import names
from lambdas.domain.jobs.jobs import JobState
from lowtide.local.deploy import stack_context
from tests.world.conftest import PACE, Stack, until

BOUND = 150.0
"""Seconds on a loaded machine; some 20 on a free one."""


def test_a_deleted_stack_leaves_no_instance_no_template_no_volume_and_no_data(stack: Stack) -> None:
    world = stack.aws.world
    job_ids = [stack.send({"pool": pool, "command": ["sleep", "600"]}) for pool in ("steady", "spot")]
    working = [stack.in_state(job_id, JobState.RUNNING).instance_id or "" for job_id in job_ids]
    for instance_id in working:
        until(f"the job's process on {instance_id}", lambda i=instance_id: stack.aws.hosts.busy(i))
    processes = [p for i in stack.aws.market.instances() for p in stack.aws.hosts.processes(i.instance_id)]
    bucket = stack.outputs[names.OUTPUT_BUCKET_NAME]
    world.client("s3").put_object(Bucket=bucket, Key="checkpoints/one", Body=b"x")
    assert len(processes) >= 4
    began = time.monotonic()
    world.deployment(context=stack_context(names.STACK, PACE, stack.context)).destroy(names.STACK)
    assert time.monotonic() - began < BOUND
    assert stack.aws.market.instances() == []
    psutil.wait_procs(processes, timeout=5)
    assert [p for p in processes if p.is_running()] == []
    ec2 = world.client("ec2")
    assert ec2.describe_launch_templates()["LaunchTemplates"] == []
    assert ec2.describe_volumes()["Volumes"] == []
    stacks = world.client("cloudformation").list_stacks(StackStatusFilter=["DELETE_COMPLETE"])["StackSummaries"]
    assert names.STACK in {summary["StackName"] for summary in stacks}
    assert stack.outputs[names.OUTPUT_TABLE_NAME] not in world.client("dynamodb").list_tables()["TableNames"]
    assert bucket not in {found["Name"] for found in world.client("s3").list_buckets()["Buckets"]}
