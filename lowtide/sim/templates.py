"""EC2's launch templates in memory: by name, one version each, with tags; one base of the stack's for everything."""

from typing import Any

from lowtide.sim.calls import aws_error

BASE = {
    "BlockDeviceMappings": [
        {
            "DeviceName": "/dev/xvda",
            "Ebs": {"VolumeType": "gp3", "VolumeSize": 200, "Encrypted": True, "DeleteOnTermination": True},
        }
    ],
    "InstanceInitiatedShutdownBehavior": "terminate",
    "MetadataOptions": {"HttpTokens": "required", "State": "applied"},
    "TagSpecifications": [
        {"ResourceType": kind, "Tags": [{"Key": "lowtide:stack", "Value": "Lowtide"}]}
        for kind in ("instance", "volume")
    ],
    "IamInstanceProfile": {"Arn": "arn:aws:iam::000000000000:instance-profile/stack"},
    "SecurityGroupIds": ["sg-stack"],
    "UserData": "IyEvYmluL2Jhc2gKZXhlYyBweXRob24zIGJvb3QK",
}
"""As EC2 describes the stack's own; its user data is "#!/bin/bash", "exec python3 boot"."""


class TemplateStore:
    def __init__(self) -> None:
        self.made: dict[str, dict[str, Any]] = {}
        """By name: what was asked for, with `LaunchTemplateId`."""
        self.number = 0

    def has(self, template_id: str) -> bool:
        return any(made["LaunchTemplateId"] == template_id for made in self.made.values())

    def create(self, request: Any) -> dict[str, Any]:
        name = request["LaunchTemplateName"]
        if name in self.made:
            code = "InvalidLaunchTemplateName.AlreadyExistsException"
            raise aws_error("CreateLaunchTemplate", code, f"Launch template name already in use: {name}")
        self.number += 1
        self.made[name] = {**request, "LaunchTemplateId": f"lt-pool-{self.number}"}
        return {"LaunchTemplate": self._shown(name)}

    def describe(self, request: Any) -> dict[str, Any]:
        shown = [self._shown(name) for name in self.made if self._matches(name, request["Filters"])]
        return {"LaunchTemplates": shown}

    def versions(self, request: Any) -> dict[str, Any]:  # noqa: ARG002 - all have one base
        return {"LaunchTemplateVersions": [{"LaunchTemplateData": BASE}]}

    def delete(self, request: Any) -> dict[str, Any]:
        if self.made.pop(request["LaunchTemplateName"], None) is None:
            raise aws_error("DeleteLaunchTemplate", "InvalidLaunchTemplateName.NotFoundException", "no such template")
        return {}

    def _tags(self, name: str) -> dict[str, str]:
        (specification,) = self.made[name]["TagSpecifications"]
        return {tag["Key"]: tag["Value"] for tag in specification["Tags"]}

    def _matches(self, name: str, filters: Any) -> bool:
        have = {**{f"tag:{k}": v for k, v in self._tags(name).items()}, "launch-template-name": name}
        return all(have.get(each["Name"]) in each["Values"] for each in filters)

    def _shown(self, name: str) -> dict[str, Any]:
        tags = [{"Key": k, "Value": v} for k, v in self._tags(name).items()]
        return {
            "LaunchTemplateId": self.made[name]["LaunchTemplateId"],
            "LaunchTemplateName": name,
            "Tags": tags,
        }
