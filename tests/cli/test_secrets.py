"""A pool's scripts may hold secrets: no verb prints one."""

import pytest

from lambdas.domain.pools.machine import Machine
from tests.cli.deployment import Deployed
from tests.passes.world import pool

SECRET = "hunter2"
SCRIPTS = Machine(startup_script=f"export TOKEN={SECRET}", container_startup_script=f"login {SECRET}")
VERBS = ["pools show cpu", "pools list", "pools history cpu", "why cpu", "why cpu --at 0s", "status"]


@pytest.mark.parametrize("verb", [*VERBS, *(f"{verb} --json" for verb in VERBS)])
def test_no_verb_prints_a_script(deployed: Deployed, verb: str) -> None:
    deployed.apply(pool(machine=SCRIPTS))
    deployed.apply(pool(machine=SCRIPTS, max_instances=2))
    deployed.enqueue(1)
    deployed.run()
    said = deployed.say(*verb.split())
    assert (said.code, said.err) == (0, "")
    assert said.out
    assert SECRET not in said.out


def test_a_script_is_shown_by_its_size(deployed: Deployed) -> None:
    deployed.apply(pool(machine=SCRIPTS))
    for verb in ("pools show cpu --json", "pools history cpu --json", "pools list --json"):
        assert f'"startup_script": "{len(SCRIPTS.startup_script or "")} bytes"' in deployed.say(*verb.split()).out
