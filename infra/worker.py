"""What an instance is: its role, its launch templates and the script it boots with.

The script is all that EC2 carries to an instance (16 KiB). It arms the timer that ends an instance whose worker never
starts, writes where the deployment is, and runs worker/boot.py, which fetches the rest from the artefact's bucket.
"""

# jsii's classes do not match jsii's own interfaces structurally: the names of parameters differ.
# pyright: reportArgumentType=false

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aws_cdk import CfnTag, Fn, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as assets
from constructs import Construct

from infra import permissions
from infra.acknowledged import acknowledge_wildcards
from infra.bundling import Built
from lambdas import names

CONFIG_PATH = "/etc/lowtide/worker.json"
BOOT_PATH = "/opt/lowtide/boot.py"
USER_DATA_BYTES = 16 * 1024
"""EC2's limit, before base64."""
OWN_BYTES = USER_DATA_BYTES - names.STARTUP_SCRIPT_BYTES - names.STARTUP_FRAME_BYTES
_UNRESOLVED_BYTES = 1024
"""Room for what is a short placeholder at synthesis and an address at deployment."""
ROOT_DEVICE = "/dev/xvda"
"""Of AL2023 and of the Deep Learning AMIs that stand on it; Ubuntu's is /dev/sda1."""
ROOT_GIB = 200
"""Determined's default."""


class Identity(Construct):
    """`role` and `profile` of the stack's instances. It may do nothing yet; `WorkerPolicy` says what."""

    def __init__(self, scope: Construct, id: str, *, owners_roles: Sequence[str]) -> None:
        """`owners_roles`: names (`path/name`) of further roles that the owner lets instances have."""
        super().__init__(scope, id)
        stack = Stack.of(self)
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
        self.profile = iam.InstanceProfile(self, "Profile", role=self.role)
        self.role_names = [self.role.role_name, *(name.rsplit("/", 1)[-1] for name in owners_roles)]
        self.role_arns = [
            self.role.role_arn,
            *(
                stack.format_arn(service="iam", region="", resource="role", resource_name=name.lstrip("/"))
                for name in owners_roles
            ),
        ]


class DataRole(Construct):
    """`role`: whose one-hour credentials the worker API lends, tagged with the pool and the instance they are for."""

    def __init__(
        self, scope: Construct, id: str, *, lender: lambda_.Function, bucket: s3.IBucket, log_group: logs.ILogGroup
    ) -> None:
        """`lender` is told of the role, the bucket and the log group, and may assume the role; nobody else may."""
        super().__init__(scope, id)
        assert lender.role is not None
        principal = iam.ArnPrincipal(lender.role.role_arn).with_session_tags()
        self.role = iam.Role(self, "Role", assumed_by=principal)
        statements = permissions.keeping_jobs_data(bucket, log_group)
        for statement in statements:
            self.role.add_to_policy(statement)
        acknowledge_wildcards(self.role, statements)
        lender.add_to_role_policy(permissions.assuming("LendDataRole", self.role.role_arn))
        lender.add_environment(names.ENV_DATA_ROLE, self.role.role_arn)
        lender.add_environment(names.ENV_BUCKET, bucket.bucket_name)
        lender.add_environment(names.ENV_WORKER_LOGS, log_group.log_group_name)


class JobRoles(Construct):
    """Which of the owner's roles the worker API may take for jobs: `named`, and `principal_arn`, whom they have to
    trust. They need not exist yet."""

    def __init__(self, scope: Construct, id: str, *, lender: lambda_.Function, arns: Sequence[str]) -> None:
        super().__init__(scope, id)
        assert lender.role is not None
        if arns:
            lender.add_to_role_policy(permissions.assuming("LendJobRoles", *arns))
        lender.add_environment(names.ENV_JOB_ROLES, json.dumps(list(arns)))
        self.named = ",".join(arns) or "none"
        self.principal_arn = lender.role.role_arn


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A launch template as a request names it."""

    id: str
    version: str


class Worker(Construct):
    """`policy` (what an instance may do), `on_demand` and `spot` (what it is launched from)."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        identity: Identity,
        built: Built,
        boot: str,
        security_group: ec2.ISecurityGroup,
        api_arn: str,
        api_url: str,
        boot_power_off_seconds: float,
    ) -> None:
        """`boot`: the text of worker/boot.py. Raises ValueError when the boot script outgrows EC2's limit."""
        super().__init__(scope, id)
        stack = Stack.of(self)
        artefact = assets.Asset(self, "Artefact", path=str(built.path))
        self.policy = iam.ManagedPolicy(
            self,
            "Policy",
            description=f"What an instance of the Lowtide stack {stack.stack_name} needs",
            roles=[identity.role],
            statements=[
                *permissions.calling_the_worker_api(api_arn),
                permissions.reading_objects("FetchWorker", artefact.bucket, artefact.s3_object_key),
            ],
        )
        config = {
            "region": stack.region,
            "stack": stack.stack_name,
            "api_url": api_url,
            "artefact": {
                "bucket": artefact.s3_bucket_name,
                "key": artefact.s3_object_key,
                "sha256": built.digest,
            },
            "boot_power_off_seconds": boot_power_off_seconds,
        }
        user_data = boot_script(config, boot, boot_power_off_seconds)
        self._profile = ec2.CfnLaunchTemplate.IamInstanceProfileProperty(arn=identity.profile.instance_profile_arn)
        self._security_group_id = security_group.security_group_id
        self._user_data = Fn.base64(user_data)
        self.on_demand = self._template("OnDemand", ["instance", "volume", "network-interface"])
        self.spot = self._template("Spot", ["instance", "volume", "network-interface", "spot-instances-request"])

    def _template(self, id: str, tagged: Sequence[str]) -> Template:
        """`tagged`: what carries the stack's tag from its first moment; EC2 takes `spot-instances-request` only in a
        template that a spot request uses. Whether an instance gets a public address is its subnet's to say."""
        template = ec2.CfnLaunchTemplate(
            self,
            id,
            launch_template_data=ec2.CfnLaunchTemplate.LaunchTemplateDataProperty(
                block_device_mappings=[_root_volume()],
                instance_initiated_shutdown_behavior="terminate",
                metadata_options=ec2.CfnLaunchTemplate.MetadataOptionsProperty(
                    http_endpoint="enabled",
                    http_tokens="required",
                    http_put_response_hop_limit=2,
                    instance_metadata_tags="disabled",
                ),
                tag_specifications=[
                    ec2.CfnLaunchTemplate.TagSpecificationProperty(resource_type=kind, tags=[self._tag()])
                    for kind in tagged
                ],
                iam_instance_profile=self._profile,
                security_group_ids=[self._security_group_id],
                user_data=self._user_data,
            ),
        )
        return Template(id=template.ref, version=template.attr_latest_version_number)

    def _tag(self) -> CfnTag:
        return CfnTag(key=names.TAG_STACK, value=Stack.of(self).stack_name)


def boot_script(config: Mapping[str, object], boot: str, power_off_seconds: float) -> str:
    """The user data. The timer is set first, so that it runs whatever may be wrong with the rest; `shutdown -c`, which
    the worker calls once it has been answered, stops it. It counts in whole minutes."""
    delimiter = "LOWTIDE-END-OF-FILE"
    if delimiter in boot:
        raise ValueError(f"worker/boot.py holds the line {delimiter}, which ends it in the boot script.")
    minutes = max(1, math.ceil(power_off_seconds / 60))
    script = f"""#!/bin/bash
# Ends this instance if its worker never starts; the worker stops this timer.
shutdown -h +{minutes}
mkdir -p {Path(CONFIG_PATH).parent} {Path(BOOT_PATH).parent}
cat > {CONFIG_PATH} <<'{delimiter}'
{json.dumps(config, indent=1)}
{delimiter}
cat > {BOOT_PATH} <<'{delimiter}'
{boot.rstrip()}
{delimiter}
exec python3 {BOOT_PATH} {CONFIG_PATH}
"""
    size = len(script.encode()) + _UNRESOLVED_BYTES
    if size > OWN_BYTES:
        raise ValueError(
            f"The boot script is {size} bytes with its addresses; EC2 takes {USER_DATA_BYTES}, of which {OWN_BYTES} "
            "are its own and the rest is for the scripts of pools."
        )
    return script


def _root_volume() -> ec2.CfnLaunchTemplate.BlockDeviceMappingProperty:
    return ec2.CfnLaunchTemplate.BlockDeviceMappingProperty(
        device_name=ROOT_DEVICE,
        ebs=ec2.CfnLaunchTemplate.EbsProperty(
            volume_type="gp3", volume_size=ROOT_GIB, encrypted=True, delete_on_termination=True
        ),
    )
