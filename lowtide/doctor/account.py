"""What an account must have once, whatever its pools: CDK's bootstrap, EC2 Spot's role, a key for volumes."""

from collections.abc import Iterator, Sequence

from botocore.exceptions import ClientError

from lambdas.domain.pools.pools import CapacityType, Pool
from lambdas.domain.reasons import ReasonClass
from lowtide.doctor.findings import Cause, Finding, Status, fine
from lowtide.doctor.place import Place

BOOTSTRAP = "/cdk-bootstrap/hnb659fds/version"
"""Where CDK's bootstrap notes its version; hnb659fds is the default qualifier, which this app does not change."""
LEAST_BOOTSTRAP = 6
"""CDK's own templates refuse versions 1 to 5."""
SPOT_ROLE = "AWSServiceRoleForEC2Spot"
MAKE_SPOT_ROLE = "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
OWN_KEY = "alias/aws/ebs"
"""AWS's own key, which is made with the first volume: that it does not exist yet is no trouble."""


def bootstrap(place: Place) -> Iterator[Finding]:
    """Deploying needs it; launching does not."""
    deployment = place.deployment
    remedy = f"cdk bootstrap aws://{deployment.account}/{deployment.region}"
    trouble = Finding(
        check="bootstrap",
        status=Status.FAILURE if place.stack is None else Status.WARNING,
        what=f"this account is not bootstrapped for CDK in {deployment.region}",
        why="cdk deploy has no place to put the functions' code",
        remedy=remedy,
        cause=Cause(reason_class=ReasonClass.CONFIGURATION, code="NotBootstrapped"),
    )
    try:
        version = int(place.client("ssm").get_parameter(Name=BOOTSTRAP)["Parameter"]["Value"])
    except ClientError as error:
        if _code(error) != "ParameterNotFound":
            raise
        yield trouble
        return
    if version >= LEAST_BOOTSTRAP:
        yield fine("bootstrap", f"bootstrapped for CDK, version {version}")
        return
    yield Finding(
        check="bootstrap",
        status=trouble.status,
        what=f"CDK's bootstrap is of version {version}, at least {LEAST_BOOTSTRAP} is needed",
        why=trouble.why,
        remedy=remedy,
        cause=trouble.cause,
    )


def spot_role(place: Place, pools: Sequence[Pool]) -> Iterator[Finding]:
    """EC2 makes it for whoever may make it; the stack's function may not."""
    try:
        place.client("iam").get_role(RoleName=SPOT_ROLE)
    except ClientError as error:
        if _code(error) != "NoSuchEntity":
            raise
        spot = [pool.name for pool in pools if pool.spot]
        yield Finding(
            check="spot-role",
            status=Status.FAILURE if spot or not pools else Status.WARNING,
            what=f"the service-linked role {SPOT_ROLE} does not exist",
            why=f"EC2 refuses every spot instance of {', '.join(spot)}" if spot else "no spot pool could launch",
            remedy=MAKE_SPOT_ROLE,
            cause=Cause(
                reason_class=ReasonClass.PERMISSION,
                code="AuthFailure.ServiceLinkedRoleCreationNotPermitted",
                capacity_type=CapacityType.SPOT,
            ),
        )
        return
    yield fine("spot-role", f"the service-linked role {SPOT_ROLE} exists")


def volume_key(place: Place) -> Iterator[Finding]:
    """Root volumes are always encrypted, with the account's default key for EBS. With a key that cannot be used,
    instances end as soon as they begin (`Client.InternalError`), and no launch is refused for it."""
    key_id = place.client("ec2").get_ebs_default_kms_key_id()["KmsKeyId"]
    if key_id.endswith(OWN_KEY):
        yield fine("volume-key", f"volumes are encrypted with AWS's own key ({OWN_KEY})")
        return
    try:
        key = place.client("kms").describe_key(KeyId=key_id)["KeyMetadata"]
        state = key["KeyState"]
    except ClientError as error:
        if _code(error) != "NotFoundException":
            raise
        state = "missing"
    if state == "Enabled":
        yield fine("volume-key", f"the account's default key for volumes, {key_id}, is enabled")
        yield from _spot_grant(place, key_id)
        return
    mend = {
        "Disabled": f"aws kms enable-key --key-id {key_id}",
        "PendingDeletion": f"aws kms cancel-key-deletion --key-id {key_id}",
    }
    yield Finding(
        check="volume-key",
        status=Status.FAILURE,
        what=f"the account's default key for volumes, {key_id}, is {state}",
        why="root volumes cannot be encrypted with it, so instances end as soon as they begin",
        remedy=mend.get(state, "aws ec2 reset-ebs-default-kms-key-id"),
        cause=Cause(reason_class=ReasonClass.CONFIGURATION, code="InvalidKmsKeyState"),
    )


def _spot_grant(place: Place, key_id: str) -> Iterator[Finding]:
    """A key of the owner's takes a grant for the role that EC2 launches spot instances with; the key's policy may give
    the same, which is not looked at."""
    grants = place.client("kms").get_paginator("list_grants").paginate(KeyId=key_id)
    if any(SPOT_ROLE in each.get("GranteePrincipal", "") for page in grants for each in page["Grants"]):
        yield fine("volume-key-grant", f"{SPOT_ROLE} has a grant for {key_id}")
        return
    account = place.client("sts").get_caller_identity()["Account"]
    principal = f"arn:aws:iam::{account}:role/aws-service-role/spot.amazonaws.com/{SPOT_ROLE}"
    yield Finding(
        check="volume-key-grant",
        status=Status.WARNING,
        what=f"{SPOT_ROLE} has no grant for {key_id}, the account's default key for volumes",
        why="unless the key's policy lets that role use it, spot instances end as soon as they begin",
        remedy=f"aws kms create-grant --key-id {key_id} --grantee-principal {principal} --operations Decrypt Encrypt "
        "GenerateDataKey GenerateDataKeyWithoutPlaintext CreateGrant DescribeKey ReEncryptFrom ReEncryptTo",
    )


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
