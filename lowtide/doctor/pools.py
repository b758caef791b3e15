"""What each pool names, looked at in the account: offerings, subnets, images, profile, key, group."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from lambdas import names
from lambdas.adapters.ssm import Images
from lambdas.domain.pools.pools import Pool
from lambdas.domain.reasons import ReasonClass
from lowtide.doctor.findings import Cause, Finding, Status, fine
from lowtide.doctor.place import Place
from lowtide.doctor.quotas import wanted

Row = Mapping[str, Any]


def subnets(place: Place, pool: Pool) -> Iterator[Finding]:
    """Those that the pool names, else the stack's: there, one a zone, with free addresses, and the stack's to use."""
    named = pool.subnets or (place.stack.subnets if place.stack else ())
    if not named:
        return
    found = {subnet: row for _, subnet in named if (row := _subnet(place, subnet))}
    trouble = partial(_trouble, pool, "subnets")
    for _, subnet in named:
        if subnet not in found:
            yield trouble(
                f"subnet {subnet} does not exist",
                "no instance can be launched there",
                "lowtide pools apply FILE",
                "InvalidSubnetID.NotFound",
                failure=not found,
            )
    yield from _doubled(pool, found)
    yield from _untagged(place, pool, found)
    yield from _addresses(pool, found)


def _subnet(place: Place, subnet: str) -> Row | None:
    """Asked one by one: one unknown id makes EC2 refuse the whole call."""
    try:
        return next(iter(place.client("ec2").describe_subnets(SubnetIds=[subnet])["Subnets"]), None)
    except ClientError as error:
        if not _says_missing(error):
            raise
        return None


def _doubled(pool: Pool, found: Mapping[str, Row]) -> Iterator[Finding]:
    zones: dict[str, list[str]] = {}
    for subnet, row in found.items():
        zones.setdefault(row["AvailabilityZone"], []).append(subnet)
    for zone, there in zones.items():
        if len(there) > 1:
            yield _trouble(
                pool,
                "subnets",
                f"{' and '.join(there)} are both in {zone}",
                "EC2 refuses two subnets of one zone in one request",
                "lowtide pools apply FILE",
                "InvalidFleetConfig",
                zone=zone,
            )


def _untagged(place: Place, pool: Pool, found: Mapping[str, Row]) -> Iterator[Finding]:
    """A pool's own subnets carry the stack's tag, or the function may not launch into them."""
    tag = {"Key": names.TAG_STACK, "Value": place.deployment.stack}
    stacks = {subnet for _, subnet in place.stack.subnets} if place.stack else set[str]()
    for subnet, row in found.items() if pool.subnets else ():
        if subnet not in stacks and tag not in row.get("Tags", []):
            yield _trouble(
                pool,
                "subnets",
                f"{subnet} does not carry the tag {names.TAG_STACK}={place.deployment.stack}",
                "the stack's function may launch into tagged subnets only",
                f"aws ec2 create-tags --resources {subnet} --tags Key={names.TAG_STACK},Value={place.deployment.stack}",
                "UnauthorizedOperation",
                reason_class=ReasonClass.PERMISSION,
                zone=row["AvailabilityZone"],
            )


def _addresses(pool: Pool, found: Mapping[str, Row]) -> Iterator[Finding]:
    free = {subnet: int(row["AvailableIpAddressCount"]) for subnet, row in found.items()}
    most, total = max(count for _, count in wanted(pool)), sum(free.values())
    empty = [subnet for subnet, count in free.items() if not count]
    if not free:
        return
    if total >= most and not empty:
        yield fine("subnets", f"{', '.join(free)}: {total} addresses are free", pool=pool.name)
        return
    yield _trouble(
        pool,
        "subnets",
        f"{', '.join(empty)} has no free address" if empty else f"{total} addresses are free for {most} instances",
        "an instance takes an address of its subnet",
        "free addresses, or name larger subnets in subnet_ids and run lowtide pools apply FILE",
        "InsufficientFreeAddressesInSubnet",
        failure=not total,
    )


def offerings(place: Place, pool: Pool) -> Iterator[Finding]:
    """Every type in every zone that the pool uses. Without a stack and subnets, in any zone of the Region."""
    named = pool.subnets or (place.stack.subnets if place.stack else ())
    there = _offered(place, [facts.name for facts in pool.types])
    zones = {zone for zone, _ in named} or {zone for _, zone in there}
    missing = [(facts.name, zone) for facts in pool.types for zone in sorted(zones) if (facts.name, zone) not in there]
    nowhere = not any((facts.name, zone) in there for facts in pool.types for zone in zones)
    if not zones or nowhere:
        yield _trouble(
            pool,
            "offerings",
            f"none of {', '.join(f.name for f in pool.types)} is offered in {', '.join(sorted(zones)) or 'the Region'}",
            "there is nothing to launch",
            "name other types or subnets and run lowtide pools apply FILE",
            "InvalidFleetConfiguration",
        )
        return
    for name in dict.fromkeys(name for name, _ in missing):
        lacking = [zone for kind, zone in missing if kind == name]
        yield _trouble(
            pool,
            "offerings",
            f"{name} is not offered in {', '.join(lacking)}",
            "there it is asked for in vain; the pool has fewer places to find capacity",
            "name other types or subnets and run lowtide pools apply FILE",
            "InvalidFleetConfiguration",
            instance_type=name,
            zone=lacking[0] if len(lacking) == 1 else None,
            failure=False,
        )
    if not missing:
        what = f"{', '.join(facts.name for facts in pool.types)}: offered in {', '.join(sorted(zones))}"
        yield fine("offerings", what, pool=pool.name)


def _offered(place: Place, types: Sequence[str]) -> set[tuple[str, str]]:
    pages = (
        place.client("ec2")
        .get_paginator("describe_instance_type_offerings")
        .paginate(LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": sorted(set(types))}])
    )
    return {(each["InstanceType"], each["Location"]) for page in pages for each in page["InstanceTypeOfferings"]}


def images(place: Place, pool: Pool) -> Iterator[Finding]:
    """The owner's image, or the public ones: there, usable, and built for each type."""
    if pool.image_id:
        wanted_images = {facts.name: pool.image_id for facts in pool.types}
    else:
        wanted_images = Images(place.client("ssm")).of(pool.types)
    for facts in pool.types:
        if facts.name not in wanted_images:
            yield _trouble(
                pool,
                "image",
                f"no public image is known for {facts.name} in {place.deployment.region}",
                "there is nothing to boot it with",
                "set image_id and run lowtide pools apply FILE",
                "NoImage",
                instance_type=facts.name,
                failure=not wanted_images,
            )
    rows = {image: _image(place, image) for image in sorted(set(wanted_images.values()))}
    wrong = list(_wrong_images(pool, wanted_images, rows))
    yield from wrong
    if not wrong and rows:
        yield fine("image", f"{', '.join(rows)}: there, and built for the pool's types", pool=pool.name)


def _image(place: Place, image: str) -> Row | None:
    try:
        return next(iter(place.client("ec2").describe_images(ImageIds=[image])["Images"]), None)
    except ClientError as error:
        if not _says_missing(error):
            raise
        return None


def _wrong_images(pool: Pool, wanted_images: Mapping[str, str], rows: Mapping[str, Row | None]) -> Iterator[Finding]:
    mend = "name another image_id and run lowtide pools apply FILE"
    for image, row in rows.items():
        types = [facts for facts in pool.types if wanted_images.get(facts.name) == image]
        if row is None or row.get("State", "available") != "available":
            state = "does not exist, or is not shared with this account" if row is None else f"is {row['State']}"
            yield _trouble(
                pool, "image", f"image {image} {state}", "no instance boots from it", mend, "InvalidAMIID.NotFound"
            )
            continue
        unfit = [facts.name for facts in types if facts.vcpus and facts.architecture != row["Architecture"]]
        if unfit:
            yield _trouble(
                pool,
                "image",
                f"image {image} is built for {row['Architecture']}",
                f"{', '.join(unfit)} cannot run it",
                mend,
                "InvalidParameterValue",
                instance_type=unfit[0] if len(unfit) == 1 else None,
                failure=len(unfit) == len(pool.types),
            )


def profile(place: Place, pool: Pool) -> Iterator[Finding]:
    """The pool's own instance profile: there, with a role that the stack may give to instances."""
    arn = pool.machine.iam_instance_profile_arn
    if arn is None:
        return
    trouble = partial(_trouble, pool, "profile")
    try:
        row = place.client("iam").get_instance_profile(InstanceProfileName=arn.rsplit("/", 1)[-1])["InstanceProfile"]
    except ClientError as error:
        if not _says_missing(error):
            raise
        remedy = f"aws iam create-instance-profile --instance-profile-name {arn.rsplit('/', 1)[-1]}"
        yield trouble(f"instance profile {arn} does not exist", "EC2 refuses to launch with it", remedy, "NoSuchEntity")
        return
    role = next((role["RoleName"] for role in row["Roles"]), None)
    if role is None:
        named = f"--instance-profile-name {row['InstanceProfileName']}"
        remedy = f"aws iam add-role-to-instance-profile {named} --role-name ROLE"
        yield trouble(f"instance profile {arn} has no role", "its instances have no rights", remedy, "NoRoleInProfile")
    elif place.stack is None:
        yield fine("profile", f"{arn} exists; deploy with -c worker_roles={role}", pool=pool.name)
    elif role not in place.stack.roles:
        yield trouble(
            f"role {role} of instance profile {arn} is not among those that the stack may give to instances",
            "launches are refused for want of iam:PassRole; give the stack's other options, too",
            f"cdk deploy -c worker_roles={','.join(sorted({role, *place.stack.roles}))}",
            "UnauthorizedOperation",
            reason_class=ReasonClass.PERMISSION,
        )
    else:
        yield fine("profile", f"{arn} exists, and the stack may use its role {role}", pool=pool.name)


def key_pair(place: Place, pool: Pool) -> Iterator[Finding]:
    name = pool.machine.ssh_key_name
    if name is None:
        return
    try:
        place.client("ec2").describe_key_pairs(KeyNames=[name])
    except ClientError as error:
        if not _says_missing(error):
            raise
        yield _trouble(
            pool,
            "key-pair",
            f"key pair {name} does not exist in {place.deployment.region}",
            "EC2 refuses to launch with it",
            f"aws ec2 import-key-pair --key-name {name} --public-key-material fileb://KEY.pub",
            "InvalidKeyPair.NotFound",
        )
        return
    yield fine("key-pair", f"key pair {name} exists", pool=pool.name)


def _trouble(
    pool: Pool,
    check: str,
    what: str,
    why: str,
    remedy: str,
    code: str,
    *,
    failure: bool = True,
    reason_class: ReasonClass = ReasonClass.CONFIGURATION,
    instance_type: str | None = None,
    zone: str | None = None,
) -> Finding:
    return Finding(
        check=check,
        status=Status.FAILURE if failure else Status.WARNING,
        what=what,
        why=why,
        remedy=remedy,
        pool=pool.name,
        cause=Cause(reason_class=reason_class, code=code, instance_type=instance_type, availability_zone=zone),
    )


def _says_missing(error: ClientError) -> bool:
    code = error.response.get("Error", {}).get("Code", "")
    return code.endswith((".NotFound", ".Malformed", ".Unavailable")) or code == "NoSuchEntity"
