"""Law 11: when an instance without a control plane must end, and how an instance ends itself."""

from __future__ import annotations

import subprocess

from worker.log import Log


class Silence:
    """How long the control plane has not answered, against the two limits. Instants are monotonic seconds."""

    def __init__(self, idle_limit: float, running_limit: float, now: float) -> None:
        self.idle_limit = idle_limit
        self.running_limit = running_limit
        self._answered_at = now

    def broken(self, now: float) -> None:
        """A successful answer came."""
        self._answered_at = now

    def exhausted(self, now: float, running: bool) -> bool:
        return now - self._answered_at >= (self.running_limit if running else self.idle_limit)

    def exhausted_at(self, running: bool) -> float:
        return self._answered_at + (self.running_limit if running else self.idle_limit)


class Power:
    """The instance's own switch. EC2 terminates an instance that shuts itself down (launch template)."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def off(self, why: str) -> None:
        self._log("power-off", why=why)
        self._run("shutdown", "-h", "now")

    def keep_on(self) -> None:
        """Cancels the timer that the user data armed, in whichever of its two forms."""
        self._run("systemctl", "stop", "lowtide-boot-power-off.timer")
        self._run("shutdown", "-c")

    def _run(self, *command: str) -> None:
        try:
            subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            self._log("command-failed", command=command, error=str(error))
