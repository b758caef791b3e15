"""What the local EC2 needs of whatever runs its instances. `lowtide.hosts` is the real one; tests record.

Nothing here starts a process: only the values that cross the border, and the protocol.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """Everything a host needs to be the instance that EC2 described."""

    instance_id: str
    instance_type: str
    zone: str
    """Zone name (`us-east-1a`)."""
    image_id: str
    user_data: bytes
    """Already base64-decoded; empty: none was given."""
    profile_name: str | None
    """Instance profile; None: the instance has no role and its metadata service serves no credentials."""
    role_name: str | None
    lifecycle: str
    """`spot` or `on-demand`."""
    tags: Mapping[str, str]
    boot_delay: float
    """Real seconds from `launch` to the first line of user data; already divided by the world's pace."""
    boot_fails: bool
    """True: the instance is there and runs, but its user data never does."""
    vcpus: int
    memory_mib: int
    gpus: int
    private_ip: str = "10.0.0.1"
    launched_at: datetime | None = None
    extra: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further metadata by path under `latest/meta-data/` (`ami-launch-index`, `security-groups`)."""


class Hosts(Protocol):
    """Runs instances. Every method returns promptly (work goes to the host's own threads) and is safe to repeat;
    an unknown instance id is no error, since a host may be gone before EC2 says so."""

    on_shutdown: Callable[[str], None]
    """Set by the local EC2: to be called with the instance id, from any thread, when the guest powers itself off."""

    def launch(self, spec: HostSpec) -> None: ...

    def terminate(self, instance_id: str) -> None:
        """The power goes: every process of the instance is killed, nothing is told to it."""
        ...

    def notice(self, instance_id: str, action: str, at: datetime) -> None:
        """Serve `latest/meta-data/spot/instance-action` as `{"action": action, "time": at}` from now on."""
        ...

    def rebalance(self, instance_id: str, at: datetime) -> None:
        """Serve `latest/meta-data/events/recommendations/rebalance` as `{"noticeTime": at}` from now on."""
        ...

    def console(self, instance_id: str) -> str:
        """What the instance wrote to its console so far; empty when unknown."""
        ...

    def busy(self, instance_id: str) -> bool:
        """Whether a job's process runs on it now. Scripted trouble picks its victims by this."""
        ...
