"""Where the local AWS of this checkout keeps what it makes: everything is under `.lowtide`, which git ignores."""

from dataclasses import dataclass
from pathlib import Path

INSTANCES = "instances"
"""Below a world's own directory."""
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Places:
    """Paths under one directory."""

    home: Path = ROOT / ".lowtide"

    @property
    def state(self) -> Path:
        return self.home / "local.json"

    @property
    def lock(self) -> Path:
        return self.home / "local.lock"

    @property
    def run(self) -> Path:
        """The running world's own directory: functions, instances, temporary files. Emptied at `up`."""
        return self.home / "run"

    @property
    def server_log(self) -> Path:
        return self.home / "local.log"

    @property
    def deploy_log(self) -> Path:
        return self.home / "deploy.log"
