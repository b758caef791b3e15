"""What the local EC2 needs of the world it stands in. `lowtide.local.world` is the real one; tests have a small one."""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol


class World(Protocol):
    @property
    def account(self) -> str: ...

    @property
    def region(self) -> str: ...

    @property
    def pace(self) -> float:
        """How many times faster than AWS this world runs: every AWS-side period is divided by it."""
        ...

    @property
    def random(self) -> random.Random:
        """Seeds the market once, at install: `random.getrandbits(64)`."""
        ...

    @property
    def data_dir(self) -> Path: ...

    def now(self) -> datetime:
        """Aware, UTC. Real time; the pace changes periods, never the clock."""
        ...

    def emit(self, source: str, detail_type: str, detail: Mapping[str, Any], resources: Sequence[str]) -> None:
        """Put an event on the default bus as AWS itself would (`aws.ec2`). Callable from any thread."""
        ...

    def enforce(self, action: str, resource: str, context: Mapping[str, Any]) -> str | None:
        """None: the caller of the request being served may do `action` (`ec2:RunInstances`) on `resource` (an ARN).
        Else the reason, in IAM's words (`because no identity-based policy allows the ec2:RunInstances action`)."""
        ...

    def caller_arn(self) -> str:
        """ARN of the caller of the request being served."""
        ...

    def on_close(self, close: Callable[[], None]) -> None:
        """Have `close` called once when the world ends."""
        ...
