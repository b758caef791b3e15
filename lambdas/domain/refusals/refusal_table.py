"""What each of EC2's launch errors means, as data. Looking up, marking and wording are in refusals.py.

Sources: EC2's error-code page, Karpenter's, ParallelCluster's and github-aws-runners' error handling, and the cited
trouble reports behind them. Periods are judgement from those; Karpenter cools an offering down for 3 minutes,
ParallelCluster for 10. A code that nobody has met falls on `UNKNOWN`, never on nothing.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from lambdas.domain.reasons import ReasonClass


class Scope(StrEnum):
    """What is not asked for while a refusal cools down."""

    OFFERING = "offering"
    """Capacity type x instance type x zone."""
    TYPE = "type"
    """Capacity type x instance type, in every zone."""
    ZONE = "zone"
    """Capacity type x zone, every type: a subnet is one zone's."""
    CAPACITY_TYPE = "capacity-type"
    """Everything of this capacity type; the other one may still be had."""
    REQUEST = "request"
    """Nothing is marked: the next call only waits. Throttling and faults say nothing about an offering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    reason_class: ReasonClass
    scope: Scope
    cooldown: timedelta | None
    """After the first refusal; doubles with each in a row. None: always the settings' `capacity_cooldown`."""
    most: timedelta | None
    """Where doubling ends. None beside such a cool-down."""
    remedy: str
    contains: str = ""
    """The rule holds only where EC2's message contains this (any case)."""
    unknown: bool = False
    """True for codes that nobody has met: counted, alarmed on."""


def _rule(reason_class: ReasonClass, scope: Scope, first: float, most: float, remedy: str, contains: str = "") -> Rule:
    """`first` and `most` in minutes."""
    return Rule(
        reason_class=reason_class,
        scope=scope,
        remedy=remedy,
        contains=contains,
        cooldown=timedelta(minutes=first),
        most=timedelta(minutes=most),
    )


def _capacity(scope: Scope, remedy: str) -> Rule:
    return Rule(reason_class=ReasonClass.CAPACITY, scope=scope, cooldown=None, most=None, remedy=remedy)


_PERMISSION = ReasonClass.PERMISSION
_CONFIGURATION = ReasonClass.CONFIGURATION
_QUOTA = ReasonClass.QUOTA
_TRANSIENT = ReasonClass.TRANSIENT

SERVICE_LINKED_ROLE = "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"

PRICE_REMEDY = (
    "Raise spot_max_price, add instance types or zones, or wait for the market: Lowtide asks again by itself."
)
_WIDEN = "Add instance types or zones to the pool, or wait: Lowtide asks again by itself."
_READ = "Correct what EC2's message names in the pool file, then run `lowtide pools apply FILE`."
_AGAIN = "Nothing to do: Lowtide asks again by itself. If it lasts for an hour, look at the AWS Health Dashboard."
_OWN_FAULT = "This is a fault of Lowtide itself; it asks again with a new token. Please report it with this message."
_VOLUMES = "Raise the quota: `aws service-quotas list-service-quotas --service-code ebs` lists the EBS quotas."
_LIMITS = (
    "Raise the quota that EC2's message names: `aws service-quotas list-service-quotas --service-code ec2` lists them."
)
_GONE = "Make it again, or name one that exists in this Region and VPC in the pool file: `lowtide pools apply FILE`."
_TEMPLATE = "Deploy the stack again so that its launch template exists: `cdk deploy`."
_CREDENTIALS = "Check the account: `aws sts get-caller-identity`, then its status in the Billing console."
_AMI = "Name an image that exists in this Region and is shared with this account: image_id in the pool file."

UNKNOWN = replace(
    _rule(
        _TRANSIENT,
        Scope.REQUEST,
        0.5,
        10,
        "EC2 answered with a code that Lowtide does not know; it asks again ever more slowly. Read EC2's message, "
        "and please report the code.",
    ),
    unknown=True,
)
"""Transient and capped: it neither stalls nor frees anything for longer than ten minutes."""

_OFFERING_CAPACITY = _capacity(Scope.OFFERING, _WIDEN)
_POOL_CONFIGURATION = _rule(_CONFIGURATION, Scope.CAPACITY_TYPE, 5, 30, _READ)
_MISSING = _rule(_CONFIGURATION, Scope.CAPACITY_TYPE, 5, 30, _GONE)
_SMALL_LIMIT = _rule(_QUOTA, Scope.CAPACITY_TYPE, 5, 30, _LIMITS)
_VOLUME_LIMIT = _rule(_QUOTA, Scope.CAPACITY_TYPE, 5, 30, _VOLUMES)
_ACCOUNT = _rule(_PERMISSION, Scope.CAPACITY_TYPE, 5, 30, _CREDENTIALS)
_THROTTLED = _rule(
    ReasonClass.THROTTLING,
    Scope.REQUEST,
    2 / 60,
    1,
    "Nothing to do: Lowtide asks again by itself. If it lasts, something else in the account calls EC2 too often: "
    "deploy with `-c ec2_request_share=0.5`, or less, to leave it room.",
)
_FAULT = _rule(_TRANSIENT, Scope.REQUEST, 5 / 60, 5, _AGAIN)
_TOKEN = _rule(_CONFIGURATION, Scope.REQUEST, 5 / 60, 5, _OWN_FAULT)
_TEMPLATE_GONE = _rule(_CONFIGURATION, Scope.CAPACITY_TYPE, 1, 30, _TEMPLATE)
_UNAUTHORIZED = _rule(
    _PERMISSION, Scope.CAPACITY_TYPE, 5, 10, "Allow the missing action for the stack's reconcile role."
)
_IMAGE_ACCESS = _rule(
    _PERMISSION,
    Scope.CAPACITY_TYPE,
    5,
    30,
    "Share the image (and the KMS key of its snapshots) with this account, or set another image_id in the pool file.",
)
_KEY = _rule(
    _PERMISSION,
    Scope.CAPACITY_TYPE,
    5,
    30,
    "Let the EC2 spot service role use the KMS key: `aws kms create-grant --key-id KEY --grantee-principal "
    "arn:aws:iam::ACCOUNT:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot --operations Decrypt "
    "Encrypt GenerateDataKey GenerateDataKeyWithoutPlaintext CreateGrant DescribeKey ReEncryptFrom ReEncryptTo`.",
)
_PROFILE = _rule(
    _CONFIGURATION,
    Scope.CAPACITY_TYPE,
    1,
    30,
    "If the profile is new, wait two minutes; else check that it exists: `aws iam list-instance-profiles`.",
    contains="iam instance profile",
)
_FREE_TIER = _rule(
    _PERMISSION,
    Scope.CAPACITY_TYPE,
    10,
    60,
    "A free-plan account may only launch free-tier types: upgrade the account's plan in the Billing console.",
    contains="free tier",
)
_ZONE_NOT_OFFERED = _rule(
    _CONFIGURATION,
    Scope.OFFERING,
    60 * 24,
    60 * 24,
    "Nothing to do while other zones offer the type; else name types that these zones offer: "
    "`aws ec2 describe-instance-type-offerings --location-type availability-zone`.",
)
_UNSUPPORTED = _rule(
    ReasonClass.CAPACITY,
    Scope.OFFERING,
    10,
    60 * 24,
    "Nothing to do while other zones or types of the pool can be had; else add some.",
)
_SPOT_COUNT = _rule(_QUOTA, Scope.CAPACITY_TYPE, 10, 15, "Ask for a higher spot vCPU quota of this instance family.")
_VCPUS = _rule(_QUOTA, Scope.CAPACITY_TYPE, 10, 15, "Ask for a higher on-demand vCPU quota of this instance family.")
_SMALLER = _rule(
    _CONFIGURATION,
    Scope.REQUEST,
    1,
    10,
    "Lower the pool's max_instances: one request asks for at most 3,000 instances.",
)

RULES: dict[str, tuple[Rule, ...]] = {
    # price
    **dict.fromkeys(
        ("SpotMaxPriceTooLow", "price-too-low", "instance-terminated-by-price"),
        (_rule(ReasonClass.PRICE, Scope.OFFERING, 5, 10, PRICE_REMEDY),),
    ),
    # capacity
    "InsufficientInstanceCapacity": (
        _rule(
            _QUOTA,
            Scope.ZONE,
            10,
            60,
            "A spread placement group takes seven instances in a zone: use another group, or none.",
            contains="spread placement group",
        ),
        _OFFERING_CAPACITY,
    ),
    **dict.fromkeys(
        (
            *("UnfulfillableCapacity", "InsufficientCapacity", "InsufficientHostCapacity"),
            *("InsufficientCapacityOnHost", "InsufficientReservedInstanceCapacity"),
            *("InsufficientReservedInstancesCapacity", "ReservationCapacityExceeded"),
            *("Server.SpotInstanceTermination", "Server.SpotInstanceShutdown", "instance-terminated-no-capacity"),
            *("instance-terminated-by-service", "capacity-not-available"),
        ),
        (_OFFERING_CAPACITY,),
    ),
    "InsufficientFreeAddressesInSubnet": (
        _rule(
            ReasonClass.CAPACITY,
            Scope.ZONE,
            3,
            5,
            "The subnet has no free addresses: free some, or give the pool a larger subnet in subnet_ids.",
        ),
    ),
    "InsufficientAddressCapacity": (
        _capacity(Scope.ZONE, "Nothing to do: EC2 has no public addresses left there now."),
    ),
    "InsufficientVolumeCapacity": (_capacity(Scope.ZONE, "Nothing to do: EBS has no room left in that zone now."),),
    "Unsupported": (_UNSUPPORTED,),
    # configuration of one offering
    "InvalidFleetConfiguration": (_ZONE_NOT_OFFERED,),
    "VolumeTypeNotAvailableInZone": (
        _rule(
            _CONFIGURATION, Scope.ZONE, 60, 60 * 24, "Nothing to do while the pool has other zones; else use others."
        ),
    ),
    "UnsupportedOperation": (
        _rule(
            _CONFIGURATION,
            Scope.TYPE,
            30,
            60 * 24,
            "The image does not fit this instance type: set another image_id, or take the type out of the pool.",
        ),
    ),
    # quota
    "MaxSpotInstanceCountExceeded": (_SPOT_COUNT,),
    "VcpuLimitExceeded": (_VCPUS,),
    **dict.fromkeys(
        (
            *("InstanceLimitExceeded", "MaxSpotFleetRequestCountExceeded", "ResourceLimitExceeded"),
            *("HostLimitExceeded", "NetworkInterfaceLimitExceeded", "PrivateIpAddressLimitExceeded"),
            *("AddressLimitExceeded", "SecurityGroupsPerInterfaceLimitExceeded", "TagLimitExceeded"),
            *("SecurityGroupsPerInstanceLimitExceeded", "TargetCapacityLimitExceededException"),
        ),
        (_SMALL_LIMIT,),
    ),
    **dict.fromkeys(
        ("VolumeLimitExceeded", "MaxIOPSLimitExceeded", "Client.VolumeLimitExceeded", "limit-exceeded"),
        (_VOLUME_LIMIT,),
    ),
    "MaxFleetCountExceeded": (
        _rule(
            _QUOTA,
            Scope.REQUEST,
            2,
            15,
            "Too many EC2 fleets exist in the Region: `aws ec2 describe-fleets` lists them; delete old ones.",
        ),
    ),
    **dict.fromkeys(
        ("MaxTemplateLimitExceeded", "MaxTemplateVersionLimitExceeded"),
        (
            _rule(
                _QUOTA,
                Scope.CAPACITY_TYPE,
                10,
                60,
                "Delete launch templates or versions that nothing uses: `aws ec2 describe-launch-templates`.",
            ),
        ),
    ),
    **dict.fromkeys(("ResourceCountExceeded", "RequestResourceCountExceeded"), (_SMALLER,)),
    # permission
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
        _rule(
            _PERMISSION,
            Scope.CAPACITY_TYPE,
            5,
            10,
            f"Make the role that EC2 spot needs, once per account: `{SERVICE_LINKED_ROLE}`.",
        ),
    ),
    **dict.fromkeys(("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"), (_UNAUTHORIZED,)),
    "AuthFailure": (
        _rule(
            _PERMISSION,
            Scope.CAPACITY_TYPE,
            5,
            30,
            _IMAGE_ACCESS.remedy,
            contains="not authorized for images",
        ),
        _ACCOUNT,
    ),
    **dict.fromkeys(
        (
            *("OptInRequired", "Blocked", "InvalidClientTokenId", "SignatureDoesNotMatch", "RequestExpired"),
            *("UnrecognizedClientException", "ExpiredToken"),
        ),
        (_ACCOUNT,),
    ),
    "PendingVerification": (
        _rule(
            _PERMISSION,
            Scope.CAPACITY_TYPE,
            15,
            60,
            "AWS is still verifying the account for this Region: wait, and contact AWS Support if that lasts 4 hours.",
        ),
    ),
    **dict.fromkeys(("CustomerKeyHasBeenRevoked", "Client.InternalError"), (_KEY,)),
    # configuration of the pool
    "InvalidParameterValue": (_PROFILE, _FREE_TIER, _POOL_CONFIGURATION),
    "InvalidParameterCombination": (_FREE_TIER, _POOL_CONFIGURATION),
    "InvalidParameter": (
        _rule(
            _CONFIGURATION,
            Scope.ZONE,
            30,
            60 * 24,
            "Give the pool a security group and subnets of one VPC: network_interface and subnet_ids in the pool file.",
            contains="different networks",
        ),
        _POOL_CONFIGURATION,
    ),
    **dict.fromkeys(
        (
            *("MissingParameter", "InvalidFleetConfig", "InvalidBlockDeviceMapping", "InvalidInstanceType"),
            *("InvalidIamInstanceProfileArn.Malformed", "InvalidInstanceAttributeValue", "UnknownVolumeType"),
            *("UnknownParameter", "ValidationError", "VPCIdNotSpecified", "bad-parameters"),
            "constraint-not-fulfillable",
        ),
        (_POOL_CONFIGURATION,),
    ),
    **dict.fromkeys(
        (
            *("InvalidSubnet", "InvalidSubnetID.NotFound", "InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound"),
            *("InvalidKeyPair.NotFound", "InvalidSnapshot.NotFound", "Client.InvalidSnapshot.NotFound"),
            *("InvalidZone.NotFound", "InvalidPlacementGroup.Unknown", "InvalidVpcID.NotFound"),
        ),
        (_MISSING,),
    ),
    **dict.fromkeys(
        ("InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable"),
        (_rule(_CONFIGURATION, Scope.CAPACITY_TYPE, 5, 30, _AMI),),
    ),
    **dict.fromkeys(
        (
            *("InvalidLaunchTemplateName.NotFoundException", "InvalidLaunchTemplateId.NotFound"),
            *("InvalidLaunchTemplateId.VersionNotFound", "InvalidLaunchTemplateId.Malformed"),
        ),
        (_TEMPLATE_GONE,),
    ),
    "InvalidUserData.Malformed": (
        _rule(
            _CONFIGURATION, Scope.CAPACITY_TYPE, 30, 60 * 24, "Shorten startup_script: user data holds 16 KB in all."
        ),
    ),
    **dict.fromkeys(("IdempotentParameterMismatch", "IdempotentInstanceTerminated", "InvalidClientToken"), (_TOKEN,)),
    # Lowtide's own
    "SpotCameAsOnDemand": (
        _rule(
            _CONFIGURATION,
            Scope.OFFERING,
            60,
            60 * 24,
            "Lowtide ends such instances at once. Set spot_max_price in the pool file to at least the market's price; "
            "if it lasts, please report it.",
        ),
    ),
    # throttling
    **dict.fromkeys(
        (
            *("RequestLimitExceeded", "Throttling", "ThrottlingException", "EC2ThrottledException"),
            *("RequestThrottled", "TooManyRequestsException"),
        ),
        (_THROTTLED,),
    ),
    # transient
    **dict.fromkeys(
        (
            *("InternalError", "InternalFailure", "Server.InternalError", "ServerInternal", "Unavailable"),
            *("ServiceUnavailable", "RequestTimeout", "RequestTimeoutException", "system-error"),
            *("not-scheduled-yet", "InvalidSpotInstanceRequestID.NotFound", "InvalidTime", "Server.ScheduledStop"),
        ),
        (_FAULT,),
    ),
}
"""Code -> its rules; the first whose `contains` is in the message holds, so the last of each has none."""
