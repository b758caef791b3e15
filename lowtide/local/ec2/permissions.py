"""The steps that EC2 authorises one by one when it launches, as the caller, per resource and with its tags.

A user of an instant fleet needs more than ec2:CreateFleet: everything the fleet makes or uses is checked too. A missing
permission for the fleet or its template refuses the request; one for what an override needs comes back in `Errors` for
that override, as UnauthorizedOperation, and names the action.
"""

from collections.abc import Mapping
from typing import Any

from lowtide.local.interface import Denied, WorldLike
from lowtide.market.fleet import Refused

UNAUTHORIZED = "UnauthorizedOperation"
GUARDED = frozenset({"CreateLaunchTemplate", "DeleteLaunchTemplate"})
"""Actions that are checked here and done by ministack, which would not know the tags that IAM asks about."""
AUTHENTICATED_ONLY = frozenset({"CreateFleet", "RunInstances", "TerminateInstances", "GetConsoleOutput"}) | GUARDED
"""Actions that ministack's gate only authenticates: it would check one resource, `*`, where EC2 checks many."""

Context = Mapping[str, str | list[str]]
Tags = Mapping[str, Mapping[str, str]]
"""Tags by resource type (`instance`, `volume`, ...)."""


class Caller:
    """Whoever signed the request being served. The same question is asked of IAM once."""

    def __init__(self, world: WorldLike, headers: Mapping[str, str]) -> None:
        self._world = world
        self._headers = headers
        self._answers: dict[tuple[str, str, str], Denied | None] = {}

    def denied(self, action: str, resource: str, context: Context) -> Denied | None:
        key = (action, resource, repr(sorted(context.items())))
        if key not in self._answers:
            self._answers[key] = self._world.enforce(self._headers, action, resource, context)
        return self._answers[key]

    def require(self, action: str, resource: str, context: Context) -> None:
        """Raises Refused (UnauthorizedOperation), naming action and resource, unless it is allowed."""
        if (denied := self.denied(action, resource, context)) is not None:
            raise Refused(UNAUTHORIZED, denied.message, status=403)

    def arn(self, kind: str, identity: str = "*") -> str:
        """Of an EC2 resource. Images and snapshots carry no account in theirs."""
        account = "" if kind in ("image", "snapshot") else self._world.account
        return f"arn:aws:ec2:{self._world.region}:{account}:{kind}/{identity}"

    def parameter_arn(self, name: str) -> str:
        """Public parameters, under /aws/, carry no account in theirs."""
        account = "" if name.startswith("/aws/") else self._world.account
        return f"arn:aws:ssm:{self._world.region}:{account}:parameter/{name.lstrip('/')}"


def tagging(tags: Mapping[str, str]) -> dict[str, str | list[str]]:
    """The condition keys of tags that a request sets; no `aws:TagKeys` where it sets none."""
    keys: dict[str, str | list[str]] = {f"aws:RequestTag/{k}": v for k, v in tags.items()}
    return {**keys, "aws:TagKeys": sorted(tags)} if tags else keys


def tagged(tags: Mapping[str, str]) -> dict[str, str | list[str]]:
    """The condition keys of the tags that a resource has."""
    return {f"{key}/{k}": v for k, v in tags.items() for key in ("ec2:ResourceTag", "aws:ResourceTag")}


def require_fleet(caller: Caller, templates: Tags, tags: Tags) -> None:
    """What the request as a whole needs. `templates`: the tags of the launch templates that it names, by id."""
    of_fleet = tags.get("fleet", {})
    caller.require("ec2:CreateFleet", caller.arn("fleet"), tagging(of_fleet))
    for template_id, own in templates.items():
        caller.require("ec2:CreateFleet", caller.arn("launch-template", template_id), tagged(own))
    if of_fleet:
        context = {**tagging(of_fleet), "ec2:CreateAction": "CreateFleet"}
        caller.require("ec2:CreateTags", caller.arn("fleet"), context)


def denied_launch(caller: Caller, needs: Mapping[str, Any], tags: Tags, create_action: str) -> Denied | None:
    """The first step of launching from one override that the caller may not take; None: all are allowed.

    `needs`: `instance_type`, `spot`, `subnet`, `groups`, `image`, and where there is one `key`, `template` (with its
    tags in `template_tags`), `role_arn`, `parameter` (the SSM parameter that named the image)."""
    made = ["instance", "volume", "network-interface", *(["spot-instances-request"] if needs["spot"] else [])]
    used = [("subnet", needs["subnet"]), ("image", needs["image"]), *(("security-group", g) for g in needs["groups"])]
    if needs.get("key"):
        used.append(("key-pair", needs["key"]))
    market = "spot" if needs["spot"] else "on-demand"
    of_type = {"ec2:InstanceType": needs["instance_type"], "ec2:InstanceMarketType": market}
    questions: list[tuple[str, str, Context]] = []
    if needs.get("parameter"):
        questions.append(("ssm:GetParameters", caller.parameter_arn(needs["parameter"]), {}))
    for kind in made:
        context = {**tagging(tags.get(kind, {})), **(of_type if kind == "instance" else {})}
        questions.append(("ec2:RunInstances", caller.arn(kind), context))
    questions += [("ec2:RunInstances", caller.arn(kind, identity), {}) for kind, identity in used]
    if needs.get("template"):
        template = caller.arn("launch-template", needs["template"])
        questions.append(("ec2:RunInstances", template, tagged(needs["template_tags"])))
    for kind in made:
        if of_kind := tags.get(kind):
            context = {**tagging(of_kind), "ec2:CreateAction": create_action}
            questions.append(("ec2:CreateTags", caller.arn(kind), context))
    if needs.get("role_arn"):
        questions.append(("iam:PassRole", needs["role_arn"], {"iam:PassedToService": "ec2.amazonaws.com"}))
    return next((denied for question in questions if (denied := caller.denied(*question))), None)


def require_template(caller: Caller, action: str, template_id: str, own: Mapping[str, str], given: Tags) -> None:
    """Making a launch template (`given`: its tags by resource type) or deleting one that has the tags `own`."""
    if action == "DeleteLaunchTemplate":
        caller.require("ec2:DeleteLaunchTemplate", caller.arn("launch-template", template_id), tagged(own))
        return
    tags = given.get("launch-template", {})
    caller.require("ec2:CreateLaunchTemplate", caller.arn("launch-template"), tagging(tags))
    if tags:
        context = {**tagging(tags), "ec2:CreateAction": "CreateLaunchTemplate"}
        caller.require("ec2:CreateTags", caller.arn("launch-template"), context)


def require_console(caller: Caller, instance_id: str, tags: Mapping[str, str]) -> None:
    caller.require("ec2:GetConsoleOutput", caller.arn("instance", instance_id), tagged(tags))


def require_termination(caller: Caller, instance_id: str, tags: Mapping[str, str]) -> None:
    caller.require("ec2:TerminateInstances", caller.arn("instance", instance_id), tagged(tags))
