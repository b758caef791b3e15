"""What a pool's instances are made of beyond what a launch request can say: what takes a launch template of its own.

Pure: which template a pool needs (its name), and its data, made from the stack's own template and the differences.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

ROOT_GIB = 200
"""Determined's default, and the stack's own template's."""
_FORMAT = 1
"""Part of every template's name: raised whenever `template_data` makes something else of the same pool."""
_LONGEST_PART = 40
"""Characters of the stack's and the pool's names in a template's name; EC2 takes 128 in all."""
_BOOT_LINE = "exec "
"""How the last line of the stack's boot script begins: it starts what fetches the worker."""

STARTUP = "/opt/lowtide/startup.sh"
CONTAINER_STARTUP = "/opt/lowtide/container-startup.sh"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The defaults ask for nothing: such a pool is launched from the stack's own template."""

    tags: tuple[tuple[str, str], ...] = ()
    """`tag_key`/`tag_value`, then `custom_tags`; on everything that a launch makes."""
    instance_name: str | None = None
    """The `Name` tag."""
    ssh_key_name: str | None = None
    iam_instance_profile_arn: str | None = None
    public_ip: bool | None = None
    """None: the subnet says."""
    security_group_id: str | None = None
    root_volume_size: int = ROOT_GIB
    root_device: str | None = None
    """The name of the image's root device where it is not the public images'; None: it is."""
    startup_script: str | None = field(default=None, repr=False)
    container_startup_script: str | None = field(default=None, repr=False)

    def to_document(self) -> Document:
        """What differs from the defaults, by field."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {name: [list(tag) for tag in value] if name == "tags" else value for name, value in given.items()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_document`. Numbers may be int, float or Decimal (DynamoDB's)."""
        values: Document = {
            **document,
            **({"tags": tuple((key, value) for key, value in document["tags"])} if "tags" in document else {}),
            "root_volume_size": int(document.get("root_volume_size", ROOT_GIB)),
        }
        return cls(**values)


def template_name(machine: Machine, *, stack: str, pool: str, capacity_type: str, base: str) -> str | None:
    """The name of the template that these instances need, the same for the same content; None: the stack's own does.

    `base`: id and version of the stack's template for the capacity type, from which the other is made."""
    if machine == Machine():
        return None
    content = [_FORMAT, stack, pool, capacity_type, base, machine.to_document()]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{stack[:_LONGEST_PART]}-{pool[:_LONGEST_PART]}-{capacity_type}-{digest[:20]}"


def template_data(base: Mapping[str, Any], machine: Machine) -> Document:
    """The data of the stack's template (as EC2 describes it) with what the pool changes (as EC2 is asked for it)."""
    options = {name: value for name, value in base.get("MetadataOptions", {}).items() if name != "State"}
    data: Document = {
        **base,
        **({"MetadataOptions": options} if options else {}),
        "BlockDeviceMappings": _volumes(base, machine),
        "TagSpecifications": _tagged(base, machine),
        "UserData": _encoded(with_startup(_decoded(base["UserData"]), machine)),
    }
    if machine.ssh_key_name is not None:
        data["KeyName"] = machine.ssh_key_name
    if machine.iam_instance_profile_arn is not None:
        data["IamInstanceProfile"] = {"Arn": machine.iam_instance_profile_arn}
    if machine.public_ip is not None:
        # EC2 takes groups at the top of a template or in its interface, not in both
        groups = data.pop("SecurityGroupIds", [])
        data["NetworkInterfaces"] = [_interface(machine, groups)]
    elif machine.security_group_id is not None:
        data["SecurityGroupIds"] = [machine.security_group_id]
    return data


def _volumes(base: Mapping[str, Any], machine: Machine) -> list[Document]:
    first, *others = base["BlockDeviceMappings"]
    root = {
        **first,
        "DeviceName": machine.root_device or first["DeviceName"],
        "Ebs": {**first["Ebs"], "VolumeSize": machine.root_volume_size},
    }
    return [root, *others]


def _tagged(base: Mapping[str, Any], machine: Machine) -> list[Document]:
    name = {} if machine.instance_name is None else {"Name": machine.instance_name}
    own = [{"Key": key, "Value": value} for key, value in {**name, **dict(machine.tags)}.items()]
    return [{**kind, "Tags": [*kind["Tags"], *own]} for kind in base["TagSpecifications"]]


def _interface(machine: Machine, groups: list[str]) -> Document:
    return {
        "DeviceIndex": 0,
        "AssociatePublicIpAddress": machine.public_ip,
        "Groups": groups if machine.security_group_id is None else [machine.security_group_id],
        "DeleteOnTermination": True,
    }


def with_startup(boot: str, machine: Machine) -> str:
    """The boot script with the owner's scripts run before the worker is fetched. One that fails ends the instance: what
    it was to prepare is not there. `runuser -l` gives them root's own environment, which a boot script does not have.

    Raises ValueError where the boot script does not end as it should, so that none of it would run."""
    scripts = [
        ("startup_script", STARTUP, machine.startup_script),
        ("container_startup_script", CONTAINER_STARTUP, machine.container_startup_script),
    ]
    parts = [_run(key, place, text) for key, place, text in scripts if text]
    if not parts:
        return boot
    before, line, last = boot.rstrip("\n").rpartition("\n")
    if not last.startswith(_BOOT_LINE):
        raise ValueError(f"the stack's boot script does not end with {_BOOT_LINE!r}")
    return before + line + "".join(parts) + last + "\n"


def _run(key: str, place: str, text: str) -> str:
    """The delimiter is the text's own, so that no line of it can end it."""
    delimiter = f"LOWTIDE-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return f"""cat > {place} <<'{delimiter}'
{text.rstrip()}
{delimiter}
chmod 700 {place}
if ! runuser -l root -c 'bash {place}'; then
echo 'lowtide: the {key} of the pool failed; this instance ends'
shutdown -h now
exit 1
fi
"""


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
