"""What the parts of the local AWS may rely on: the world as its EC2, its instances and its tests see it.

`lowtide.local.world.World` is the one implementation. The spot market (`lowtide.local.ec2`) and the instances
(`lowtide.hosts`) are installed into it: `World(parts=[ec2.install, ...])` calls each with the running world.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypedDict


class Credentials(TypedDict):
    """What the instance metadata service hands out, in its own spelling."""

    AccessKeyId: str
    SecretAccessKey: str
    Token: str
    Expiration: str
    """ISO 8601, UTC, as in `2026-01-31T12:00:00Z`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """IAM's no to one action on one resource."""

    action: str
    resource: str
    principal: str
    explicit: bool
    """True: a Deny statement matched; False: nothing allowed it."""

    @property
    def message(self) -> str:
        """EC2's wording, without the encoded part."""
        why = (
            "with an explicit deny in an identity-based policy"
            if self.explicit
            else f"because no identity-based policy allows the {self.action} action"
        )
        return (
            "You are not authorized to perform this operation. "
            f"User: {self.principal} is not authorized to perform: {self.action} on resource: {self.resource} {why}"
        )


class WorldLike(Protocol):
    """The running world."""

    account: str
    """Twelve digits."""
    region: str
    endpoint: str
    """`http://127.0.0.1:PORT`, no slash at the end. Every AWS API of the world answers here."""
    pace: float
    """AWS's own periods are divided by this: a minute of AWS lasts 60/pace seconds here."""
    random: Random
    """The world's one source of chance."""
    data_dir: Path
    """An empty directory of the world's own; removed when a world that made it itself closes."""

    def now(self) -> datetime:
        """The present instant, aware, UTC. Real time: only lengths are scaled (`paced`)."""
        ...

    def paced(self, seconds: float) -> float:
        """How many real seconds so many AWS seconds last here."""
        ...

    def emit(self, source: str, detail_type: str, detail: Mapping[str, Any], resources: Sequence[str] = ()) -> None:
        """Puts one event on the default bus as the AWS service `source` (`aws.ec2`) would. Never blocks on targets."""
        ...

    def enforce(
        self, headers: Mapping[str, str], action: str, resource: str, context: Mapping[str, str | list[str]]
    ) -> Denied | None:
        """IAM's answer for the caller who signed `headers` (the lower-case headers that a handler is given).

        None means allowed. `context` holds condition keys as policies spell them: `aws:RequestTag/lowtide:stack`,
        `ec2:ResourceTag/…`, `ec2:CreateAction`, `iam:PassedToService`, `aws:TagKeys` (a list).
        """
        ...

    def role_credentials(self, name_or_arn: str, session_name: str) -> Credentials:
        """Temporary credentials of a role, or of an instance profile's role, as EC2 hands them to an instance.

        Takes a role name, an instance profile name, or the ARN of either. The principal is
        `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION_NAME`, its user id `AROA…:SESSION_NAME`.
        Raises LookupError if there is neither.
        """
        ...

    def mount(self, prefix: str, app: Callable[..., Any]) -> None:
        """Has an ASGI application answer every path that begins with `prefix`, before AWS's APIs see the request.

        Nothing is authenticated there: only what anybody on this machine may do belongs behind it.
        """
        ...

    def on_close(self, action: Callable[[], None]) -> None:
        """Has `action` called when the world closes, last registered first, before the APIs stop answering."""
        ...


Part = Callable[[WorldLike], None]
"""Something installed into a running world: `lowtide.local.ec2.install`, the instances, a test's own stand-in."""
