import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lowtide.hosts import Hosts
from lowtide.hosts.guests import Guests, Namespaced, Rewritten, starts
from tests.worker.control import CREDENTIALS, Control

NAMESPACES = ["--mount", "--pid", "--fork", "--kill-child"]


def ways() -> dict[str, Guests]:
    """Every way to make guests, whether this machine permits it or not."""
    unshare = shutil.which("unshare") or "unshare"
    return {
        "root": Namespaced([unshare, *NAMESPACES], own_users=True),
        "user": Namespaced([unshare, "--map-root-user", *NAMESPACES], own_users=False),
        "rewritten": Rewritten(),
    }


@pytest.fixture(scope="session")
def permitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Guests]:
    """Those in which a guest really starts on this machine."""
    place = tmp_path_factory.mktemp("probe")
    candidates = ways()
    if sys.platform != "linux":
        return {"rewritten": candidates["rewritten"]}
    if os.geteuid() != 0:
        del candidates["root"]
    return {name: guests for name, guests in candidates.items() if starts(guests, place / name)}


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    made = Control()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOFTHECALLER")
    yield made
    made.close()


@pytest.fixture
def make_hosts(tmp_path: Path, control: Control, permitted: dict[str, Guests]) -> Iterator[Callable[..., Hosts]]:
    made: list[Hosts] = []

    def make(guests: Guests | None = None, grace: float = 0.3) -> Hosts:
        hosts = Hosts(
            tmp_path / "hosts",
            endpoint=control.url,
            region="us-east-1",
            account="123456789012",
            credentials=lambda role, instance: {**CREDENTIALS, "AccessKeyId": f"{role}:{instance}"},
            grace=grace,
            guests=guests or next(iter(permitted.values())),
        )
        made.append(hosts)
        return hosts

    yield make
    for hosts in made:
        hosts.close()
