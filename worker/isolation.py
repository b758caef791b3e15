"""What separates a job from the instance it runs on: its own user, no metadata service, an environment of its own.

Where something cannot be had (the worker is not root, no tool to block with), it is said in the log and the job runs.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from worker.boot import JOB_USER
from worker.log import Log

METADATA_ADDRESS = "169.254.169.254"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Account:
    """The user that jobs run as. All None: the worker's own."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None

    def own(self, place: Path) -> None:
        """Gives a directory and everything in it to the job; links themselves, never what they point to."""
        if self.uid is None or self.gid is None:
            return
        os.lchown(place, self.uid, self.gid)
        for folder, directories, files in os.walk(place):
            for entry in (*directories, *files):
                os.lchown(os.path.join(folder, entry), self.uid, self.gid)  # noqa: PTH118 - many files, plain strings


def job_account(log: Log) -> Account:
    """`lowtide-job` where the worker is root and the user exists, else the worker's own user, and the log says so."""
    if os.geteuid() != 0:
        log("jobs-share-the-workers-user", why="the worker is not root")
        return Account()
    try:
        found = pwd.getpwnam(JOB_USER)
    except KeyError:
        log("jobs-share-the-workers-user", why=f"there is no user {JOB_USER}")
        return Account()
    groups = tuple(group.gr_gid for group in grp.getgrall() if JOB_USER in group.gr_mem)
    return Account(found.pw_uid, found.pw_gid, groups)


def block_metadata(account: Account, log: Log) -> bool:
    """True: the job user cannot reach the metadata service. False: it can, and the log says so.

    `ip rule` needs no package on any Linux image; iptables and nft are preferred because they refuse at once.
    """
    if account.uid is None:
        log("metadata-service-open-to-jobs", why="jobs share the worker's user")
        return False
    uid = str(account.uid)
    match = ["OUTPUT", "-d", METADATA_ADDRESS, "-m", "owner", "--uid-owner", uid, "-j", "REJECT"]
    if _succeeds("iptables", "-C", *match) or _succeeds("iptables", "-I", *match):
        return True
    rules = (
        "add table ip lowtide; add chain ip lowtide output { type filter hook output priority 0; }; "
        f"flush chain ip lowtide output; add rule ip lowtide output ip daddr {METADATA_ADDRESS} meta skuid {uid} reject"
    )
    if _succeeds("nft", rules):
        return True
    rule = ["to", METADATA_ADDRESS, "uidrange", f"{uid}-{uid}", "prohibit"]
    _succeeds("ip", "rule", "del", *rule)
    if _succeeds("ip", "rule", "add", *rule):
        return True
    log("metadata-service-open-to-jobs", why="iptables, nft and ip rule all failed")
    return False


def _succeeds(*command: str) -> bool:
    try:
        found = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return found.returncode == 0


def base_environment(home: Path, scratch: Path) -> dict[str, str]:
    """What a job has beside its own variables and Lowtide's. Nothing of the worker's but PATH and LANG."""
    return {
        "PATH": os.environ.get("PATH") or DEFAULT_PATH,
        "LANG": os.environ.get("LANG") or "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(scratch),
    }
