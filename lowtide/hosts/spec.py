"""What a host is told of the instance it is to be. The local EC2's own record of an instance has these attributes."""

from collections.abc import Mapping
from typing import Protocol


class Spec(Protocol):
    @property
    def instance_id(self) -> str: ...
    @property
    def instance_type(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def image_id(self) -> str: ...
    @property
    def user_data(self) -> bytes:
        """Base64-decoded; empty when none was given."""
        ...

    @property
    def role_name(self) -> str | None: ...
    @property
    def lifecycle(self) -> str:
        """`spot` or `on-demand`."""
        ...

    @property
    def boot_delay(self) -> float:
        """Real seconds from `launch` to the first line of user data."""
        ...

    @property
    def boot_fails(self) -> bool:
        """True: the instance is there and runs, but its user data never does."""
        ...

    @property
    def gpus(self) -> int: ...
    @property
    def private_ip(self) -> str: ...
    @property
    def extra(self) -> Mapping[str, str]:
        """Further metadata by path under `latest/meta-data/`."""
        ...
