"""What happens before anything else when the stack is deleted: launches stop, then every instance ends, and a bucket
that goes with the stack is emptied.

A custom resource that depends on everything in the stack is created last and deleted first; CloudFormation waits for
its function's answer, so nothing that the function or an instance needs goes while it works.
"""

from collections.abc import Sequence

from aws_cdk import CustomResource, Duration, Stack
from constructs import Construct, IConstruct

from infra import permissions
from infra.functions import Functions
from infra.storage import Storage
from lambdas import names

TIMEOUT = Duration.minutes(15)
"""Lambda's longest, and more than EC2 takes to end instances."""


class Teardown(Construct):
    def __init__(
        self, scope: Construct, id: str, *, functions: Functions, storage: Storage, before: Sequence[IConstruct]
    ) -> None:
        """`before`: what must still be there while instances end, which is everything else."""
        super().__init__(scope, id)
        stack = Stack.of(self)
        function = functions.add(
            self,
            "Function",
            handler="teardown",
            timeout=TIMEOUT,
            memory_mib=512,
            statements=[
                permissions.on_table(storage.table.table_arn, ["Query", "UpdateItem"], index=True),
                permissions.describing("ec2:DescribeInstances"),
                permissions.terminating(stack),
                *([] if storage.kept else permissions.emptying(storage.bucket)),
            ],
        )
        resource = CustomResource(
            self,
            "Instances",
            service_token=function.function_arn,
            resource_type="Custom::LowtideInstances",
            service_timeout=TIMEOUT,
            properties={
                "Stack": stack.stack_name,
                names.PROPERTY_EMPTIED: "" if storage.kept else storage.bucket.bucket_name,
                names.PROPERTY_RETAINED: storage.retained,
            },
        )
        resource.node.add_dependency(*before)
