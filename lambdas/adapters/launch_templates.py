"""EC2's launch templates: reading the stack's own, making, finding and deleting those of pools.

A pool's template is found by name and never changed, so its version is always 1. It carries the stack's and the pool's
tag: only what carries the stack's may be used or deleted (infra/permissions.py), and the pool's tells it from the
stack's own, which CloudFormation keeps.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from lambdas import names
from lambdas.adapters.ec2 import THROTTLED, UNKNOWN_OUTCOME, LaunchTemplate
from lambdas.adapters.table import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

FIRST = "1"
PAGE = 200
"""Templates a DescribeLaunchTemplates page (EC2's most)."""
_EXISTS = "InvalidLaunchTemplateName.AlreadyExistsException"
_NO_SUCH = {
    *("InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateName.NotFoundException"),
    "InvalidLaunchTemplateId.NotFoundException",
}


class LaunchTemplates:
    """Every method raises Unavailable for trouble that passes, ClientError for what EC2 refuses."""

    def __init__(self, client: "EC2Client", stack: str) -> None:
        self._client: Any = client
        self._stack = stack

    def data(self, template: LaunchTemplate) -> Mapping[str, Any]:
        """What is in one version of a template; it never changes."""
        answer = self._asked(
            "describe_launch_template_versions", LaunchTemplateId=template.template_id, Versions=[template.version]
        )
        return answer["LaunchTemplateVersions"][0]["LaunchTemplateData"]

    def find(self, name: str) -> LaunchTemplate | None:
        """The pool template of this name. EC2 shows one that was made a moment ago some seconds later."""
        named = {"Name": "launch-template-name", "Values": [name]}
        found = next(self._described(named), None)
        return None if found is None else LaunchTemplate(template_id=found["LaunchTemplateId"], version=FIRST)

    def make(self, name: str, data: Mapping[str, Any], *, pool: str) -> LaunchTemplate:
        """Make it, or find the one that another pass made a moment ago."""
        tags = {names.TAG_STACK: self._stack, names.TAG_POOL: pool}
        try:
            answer = self._asked(
                "create_launch_template",
                LaunchTemplateName=name,
                LaunchTemplateData=dict(data),
                TagSpecifications=[
                    {"ResourceType": "launch-template", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
                ],
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != _EXISTS:
                raise
            if (found := self.find(name)) is None:
                raise Unavailable(f"launch template {name} exists and is not listed yet") from error
            return found
        return LaunchTemplate(template_id=answer["LaunchTemplate"]["LaunchTemplateId"], version=FIRST)

    def delete(self, name: str) -> None:
        """It may be gone already. Instances that it launched stay."""
        try:
            self._asked("delete_launch_template", LaunchTemplateName=name)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _NO_SUCH:
                raise

    def every(self) -> list[str]:
        """The names of the templates of all pools of the stack."""
        return [template["LaunchTemplateName"] for template in self._described()]

    def _described(self, *further: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        filters = [{"Name": f"tag:{names.TAG_STACK}", "Values": [self._stack]}, *further]
        token: str | None = None
        while True:
            request = {"Filters": filters, "MaxResults": PAGE, **({"NextToken": token} if token else {})}
            answer = self._asked("describe_launch_templates", **request)
            yield from filter(self._is_a_pools, answer.get("LaunchTemplates", []))
            token = answer.get("NextToken") or None
            if token is None:
                return

    def _is_a_pools(self, template: Mapping[str, Any]) -> bool:
        tags = {tag["Key"]: tag["Value"] for tag in template.get("Tags", [])}
        return tags.get(names.TAG_STACK) == self._stack and names.TAG_POOL in tags

    def _asked(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            return getattr(self._client, operation)(**request)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in THROTTLED | UNKNOWN_OUTCOME:
                raise Unavailable(str(error)) from error
            raise
        except (ConnectionError, HTTPClientError) as error:
            raise Unavailable(str(error)) from error
