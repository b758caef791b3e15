"""The options of `cdk deploy -c name=value`, read and checked once. Nothing here knows CDK.

| option | meaning | default |
| --- | --- | --- |
| `stack` | the stack's name; also what its instances are tagged with | `LOWTIDE_STACK`, else `Lowtide` |
| `python`, `arch` | runtime and wheels of the functions: 3.11, 3.12, 3.13; `arm64`, `x86_64` | 3.13, arm64 |
| `vpc_id`, `subnet_ids` | an existing network's subnets, one per zone, public or private | a VPC of its own |
| `zones` | zones of the stack's own VPC | every zone of the Region |
| `worker_roles` | roles of the owner's that instances may have, by name (`path/name` for a role with a path) | none |
| `job_roles` | roles of the owner's that jobs may have, by ARN: what a pool's `job_role_arn` may name | none |
| `ec2_request_share` | the part of the account's EC2 request rate that this stack may use, above 0 to 1 | 1 |
| `settings` | JSON object of periods and rates, see lambdas/domain/settings.py | `{}` |
| `retention` | `keep`: table and bucket outlive the stack; `delete`: they go too, with everything in them | keep |
| `log_days` | how long log lines are kept: 1, 7, 30, 90, 365 | 30 |
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Self

from lambdas import names

PYTHONS = ("3.11", "3.12", "3.13")
ARCHITECTURES = ("arm64", "x86_64")
LOG_DAYS = (1, 7, 30, 90, 365)
BOOT_POWER_OFF_SECONDS = 30 * 60
"""Default of `settings.boot_power_off`: an instance whose worker never starts ends itself after this."""

NAMES = (
    *("stack", "python", "arch", "vpc_id", "subnet_ids", "zones", "worker_roles", "job_roles", "ec2_request_share"),
    *("settings", "retention", "log_days"),
)
"""Every option, as the table above has them."""
_CDKS_OWN = re.compile(r"@.*|.*:.*|(?:aws|aws-cdk|cdk)-.*|acknowledged-issue-numbers|cli-telemetry", re.DOTALL)
"""Keys of the context that CDK reads: feature flags (`@aws-cdk/…`), switches (`aws:cdk:…`, `cdk-migrate`), what it
looked up (`availability-zones:account=…`), what `cdk acknowledge` and `cdk cli-telemetry` write to cdk.context.json."""

_STACK = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,576}")
_ROLE = re.compile(r"[A-Za-z0-9+=,.@_/-]{1,512}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    stack: str = names.STACK
    python: str = "3.13"
    arch: str = "arm64"
    vpc_id: str | None = None
    subnet_ids: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    worker_roles: tuple[str, ...] = ()
    job_roles: tuple[str, ...] = ()
    settings: str = "{}"
    """JSON object: as given, with `ec2_request_share`."""
    keep_data: bool = True
    log_days: int = 30

    @property
    def boot_power_off_seconds(self) -> float:
        return float(json.loads(self.settings).get("boot_power_off", BOOT_POWER_OFF_SECONDS))

    @classmethod
    def read(cls, context: Callable[[str], Any], environment: Mapping[str, str]) -> Self:
        """Raises ValueError with one sentence that names the option, its value and what it takes."""
        vpc_id, subnet_ids = context("vpc_id"), _names(context("subnet_ids"))
        if bool(vpc_id) != bool(subnet_ids):
            raise ValueError("-c vpc_id and -c subnet_ids go together: give both, or neither for a VPC of its own.")
        if len(set(subnet_ids)) != len(subnet_ids):
            raise ValueError("-c subnet_ids names a subnet twice; give one subnet per zone.")
        return cls(
            stack=_matching("stack", context("stack") or environment.get(names.ENV_STACK) or names.STACK, _STACK),
            python=_one_of("python", context("python") or PYTHONS[-1], PYTHONS),
            arch=_one_of("arch", context("arch") or ARCHITECTURES[0], ARCHITECTURES),
            vpc_id=vpc_id or None,
            subnet_ids=subnet_ids,
            zones=_names(context("zones")),
            worker_roles=tuple(_matching("worker_roles", r, _ROLE) for r in _names(context("worker_roles"))),
            job_roles=tuple(_matching("job_roles", r, _ROLE_ARN) for r in _names(context("job_roles"))),
            settings=_settings(context("settings"), context("ec2_request_share")),
            keep_data=_one_of("retention", context("retention") or "keep", ("keep", "delete")) == "keep",
            log_days=int(_one_of("log_days", str(context("log_days") or 30), tuple(map(str, LOG_DAYS)))),
        )


def check_names(given: Iterable[str]) -> None:
    """Raises ValueError for a key of the context that neither an option nor CDK reads: a misspelt option would deploy
    with its default."""
    for name in sorted(given):
        if name in NAMES or _CDKS_OWN.fullmatch(name):
            continue
        nearest = get_close_matches(name.lower().replace("-", "_"), NAMES, n=1)
        meant = f": did you mean {nearest[0]}?" if nearest else "."
        raise ValueError(
            f"-c {name} is no option{meant} Correct it, or leave it out, where it is given (-c, context in cdk.json, "
            f"cdk.context.json or ~/.cdk.json); options are {', '.join(NAMES)}."
        )


def _names(value: Any) -> tuple[str, ...]:
    """`a,b` from the command line, or a list from cdk.json."""
    parts = value if isinstance(value, list) else str(value or "").split(",")
    return tuple(name for part in parts if (name := str(part).strip()))


def _one_of(option: str, value: Any, allowed: tuple[str, ...]) -> str:
    if str(value) not in allowed:
        raise ValueError(f"-c {option}={value} is unknown; it takes {', '.join(allowed)}.")
    return str(value)


def _matching(option: str, value: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(value):
        raise ValueError(f"-c {option}={value} is not a name; it takes {pattern.pattern}.")
    return value


def _settings(given: Any, share: Any) -> str:
    settings = _json_object(given or "{}")
    if share is None:
        return json.dumps(settings, sort_keys=True)
    try:
        part = float(share)
    except ValueError:
        part = 0.0
    if not 0 < part <= 1:
        raise ValueError(f"-c ec2_request_share={share} is no part of a rate; it takes a number above 0, at most 1.")
    return json.dumps({**settings, "ec2_request_share": part}, sort_keys=True)


def _json_object(value: Any) -> dict[str, Any]:
    """What the text says, or an object from cdk.json as it is."""
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError as error:
        raise ValueError(
            f"-c settings is not JSON ({error}); it takes an object, as in '{{\"lease\": 300}}'."
        ) from error
    if not isinstance(parsed, dict):
        raise ValueError("-c settings is JSON but not an object; it takes one, as in '{\"lease\": 300}'.")
    return parsed
