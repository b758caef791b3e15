"""The verbs that change pools: what they write, what they refuse, and what two people at once are told."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lambdas.adapters import keys
from lambdas.adapters.pool_table import Conclusion
from lambdas.domain.pools.pools import Pool
from lowtide.cli import pool_verbs
from lowtide.sim.calls import Request, Response
from tests.cli.deployment import Deployed
from tests.passes.world import facts, pool


def changed(deployed: Deployed, **changes: Any) -> Pool:
    current = deployed.config.pool("cpu")
    assert current
    return deployed.apply(replace(current, **changes))


def current(deployed: Deployed) -> Pool:
    found = deployed.config.pool("cpu")
    assert found
    return found


class Meanwhile:
    """Somebody else applies a version, once, just before the first transaction of ours."""

    def __init__(self, deployed: Deployed, times: int = 1, **changes: Any) -> None:
        self.deployed, self.times, self.changes = deployed, times, changes

    def before(self, operation: str, request: Request) -> None:
        if operation == "dynamodb.transact_write_items" and self.times:
            self.times -= 1
            self.deployed.dynamodb.hook = None
            pool = current(self.deployed)
            changed(self.deployed, max_instances=pool.max_instances + 1, **self.changes)
            self.deployed.dynamodb.hook = self

    def after(self, operation: str, request: Request, response: Response) -> None: ...


def pool_file(path: Path, **provider: Any) -> str:
    given = {"type": "aws", "instance_type": "c7i.large", "spot": True, **provider}
    path.write_text(yaml.safe_dump({"resource_pools": [{"pool_name": "cpu", "provider": given}]}))
    return str(path)


def test_history_tells_every_version_and_what_changed_in_it(deployed: Deployed) -> None:
    deployed.apply(pool())
    changed(deployed, max_instances=9)
    rows = json.loads(deployed.say("pools", "history", "cpu", "--json").out)
    assert [(row["version"], row["changes"]) for row in rows] == [
        (2, ["max_instances: 3 -> 9"]),
        (1, ["first version"]),
    ]
    assert "max_instances: 3 -> 9" in deployed.say("pools", "history", "cpu").out


def test_rollback_makes_a_new_version_with_the_old_content(deployed: Deployed) -> None:
    deployed.apply(pool())
    changed(deployed, max_instances=9)
    said = deployed.say("pools", "rollback", "cpu")
    assert said.code == 0, said.err
    assert (current(deployed).version, current(deployed).max_instances) == (3, 3)
    assert "max_instances: 9 -> 3" in said.out
    assert "account 123456789012, us-west-2, stack Lowtide" in said.err


def test_rollback_to_a_named_version(deployed: Deployed) -> None:
    deployed.apply(pool())
    changed(deployed, max_instances=9)
    changed(deployed, max_instances=7)
    deployed.say("pools", "rollback", "cpu", "1")
    assert current(deployed).max_instances == 3


def test_rollback_takes_the_facts_of_today(deployed: Deployed) -> None:
    deployed.apply(pool())
    changed(deployed, max_instances=9)
    deployed.lists.prices["c7i.large"] = "0.08"
    deployed.say("pools", "rollback", "cpu")
    assert str(current(deployed).types[0].on_demand_price) == "0.08"


def test_rollback_to_a_type_that_is_no_more_changes_nothing(deployed: Deployed) -> None:
    deployed.apply(pool(types=(facts("c1.gone"),)))
    changed(deployed, types=(facts(),))
    said = deployed.say("pools", "rollback", "cpu")
    assert said.code == 1
    assert "EC2 no longer lists c1.gone in us-west-2" in said.err
    assert current(deployed).version == 2


def test_rollback_does_not_start_a_paused_pool(deployed: Deployed) -> None:
    deployed.apply(pool())
    changed(deployed, max_instances=9)
    deployed.say("pools", "pause", "cpu")
    deployed.say("pools", "rollback", "cpu")
    assert (current(deployed).paused, current(deployed).max_instances) == (True, 3)


@pytest.mark.parametrize(("words", "sentence"), [(["7"], "versions are 1"), ([], "no other version")])
def test_rollback_without_such_a_version_says_which_there_are(
    deployed: Deployed, words: list[str], sentence: str
) -> None:
    deployed.apply(pool())
    said = deployed.say("pools", "rollback", "cpu", *words)
    assert said.code == 1
    assert sentence in said.err


def test_pause_and_resume_are_versions(deployed: Deployed) -> None:
    deployed.apply(pool())
    assert deployed.say("pools", "pause", "cpu").code == 0
    assert (current(deployed).paused, current(deployed).version) == (True, 2)
    assert deployed.say("pools", "resume", "cpu").code == 0
    assert (current(deployed).paused, current(deployed).version) == (False, 3)


def test_pausing_twice_is_one_version(deployed: Deployed) -> None:
    deployed.apply(pool())
    deployed.say("pools", "pause", "cpu")
    assert "paused already" in deployed.say("pools", "pause", "cpu").out
    assert current(deployed).version == 2


def test_a_pause_keeps_what_somebody_else_changes_at_the_same_time(deployed: Deployed) -> None:
    deployed.apply(pool())
    deployed.dynamodb.hook = Meanwhile(deployed)
    assert deployed.say("pools", "pause", "cpu").code == 0
    assert (current(deployed).paused, current(deployed).max_instances) == (True, 4)


def test_pause_all_pauses_every_pool_and_resume_all_resumes_them(deployed: Deployed) -> None:
    for name in ("a", "b"):
        deployed.apply(pool(name))
    assert deployed.say("pause", "--all", "--yes").code == 0
    assert [each.paused for each in deployed.config.pools()] == [True, True]
    assert deployed.say("resume", "--all").code == 0
    assert [each.paused for each in deployed.config.pools()] == [False, False]


def test_the_target_is_told_although_there_is_nothing_to_pause(deployed: Deployed) -> None:
    said = deployed.say("pause", "--all")
    assert (said.code, said.out) == (0, "No pool to pause.\n")
    assert said.err == "account 123456789012, us-west-2, stack Lowtide\n"


def test_pausing_everything_needs_the_word(deployed: Deployed) -> None:
    said = deployed.say("pause")
    assert said.code == 2
    assert "lowtide pools pause NAME" in said.err


def test_a_changed_pool_is_due_at_once(deployed: Deployed) -> None:
    deployed.apply(pool())
    deployed.run()
    assert "gpk" not in deployed.state()
    deployed.say("pools", "pause", "cpu")
    assert deployed.state()["gpk"] == keys.DUE


def test_a_pass_under_way_cannot_lay_a_changed_pool_to_rest(deployed: Deployed) -> None:
    deployed.apply(pool())
    begun = deployed.reconciler().pools.begin("cpu", deployed.clock())
    deployed.say("pools", "pause", "cpu")
    reconciler = deployed.reconciler()
    rest = Conclusion(summary={}, reasons=(), unfulfilled_since=None, due=None)
    assert not reconciler.pools.conclude("cpu", begun.epoch, rest)
    assert deployed.state()["gpk"] == keys.DUE


def test_a_pool_with_jobs_is_deleted_only_with_drain(deployed: Deployed) -> None:
    deployed.apply(pool())
    deployed.enqueue(2)
    refused = deployed.say("pools", "delete", "cpu")
    assert refused.code == 1
    assert "has 2 queued jobs" in refused.err
    assert "--drain" in refused.err
    assert not current(deployed).deleted
    assert deployed.say("pools", "delete", "cpu", "--drain").code == 0
    assert current(deployed).deleted


def test_a_pool_with_instances_is_deleted_only_with_drain(deployed: Deployed) -> None:
    deployed.apply(pool(min_instances=1))
    deployed.run()
    assert "has 1 instance" in deployed.say("pools", "delete", "cpu").err


def test_a_deleted_pool_is_waited_for_until_it_is_gone(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed.apply(pool())
    monkeypatch.setattr(pool_verbs.time, "sleep", lambda _: deployed.run())
    said = deployed.say("pools", "delete", "cpu", "--wait")
    assert said.code == 0
    assert "cpu: gone" in said.out
    assert deployed.config.pool("cpu") is None


def test_of_two_people_who_apply_at_once_the_second_is_told(deployed: Deployed, tmp_path: Path) -> None:
    deployed.apply(pool())
    deployed.dynamodb.hook = Meanwhile(deployed)
    said = deployed.say("pools", "apply", pool_file(tmp_path / "p.yaml", max_instances=8))
    assert said.code == 1
    assert "somebody else changed pool cpu just now" in said.err
    assert current(deployed).max_instances == 4


def test_an_applied_file_is_a_version_with_its_difference_told(deployed: Deployed, tmp_path: Path) -> None:
    said = deployed.say("pools", "apply", pool_file(tmp_path / "p.yaml", max_instances=8))
    assert said.code == 0
    assert "at most 8 instances, $0.80 per hour" in said.out
    again = deployed.say("pools", "apply", pool_file(tmp_path / "p.yaml", max_instances=8))
    assert "Nothing to change." in again.out


def test_a_question_answered_no_changes_nothing(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed.apply(pool())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda _: False)
    said = deployed.say("pools", "delete", "cpu")
    assert (said.code, current(deployed).deleted) == (1, False)
    assert "nothing was changed" in said.err


def test_apply_shows_the_difference_and_the_most_it_can_cost_before_it_asks(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deployed.apply(pool())
    file = pool_file(tmp_path / "p.yaml", max_instances=8)
    asked: list[str] = []

    def declined(question: str) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", declined)
    said = deployed.say("pools", "apply", file)
    assert (said.code, asked, current(deployed).max_instances) == (1, ["Apply?"], 3)
    assert "at most 8 instances, $0.80 per hour" in said.out
    assert "max_instances: 3 -> 8" in said.out
    assert deployed.say("pools", "apply", "--yes", file).code == 0
    assert (len(asked), current(deployed).max_instances) == (1, 8)


@pytest.mark.parametrize("verb", ["show", "history", "rollback", "pause", "resume", "delete"])
def test_an_unknown_pool_is_answered_with_those_there_are(deployed: Deployed, verb: str) -> None:
    deployed.apply(pool())
    said = deployed.say("pools", verb, "gpu")
    assert said.code == 1
    assert "there is no pool gpu: pools are cpu" in said.err


def test_list_shows_which_pool_is_paused_and_which_goes(deployed: Deployed) -> None:
    deployed.apply(pool("a", paused=True))
    deployed.apply(pool("b", deleted=True))
    out = deployed.say("pools", "list").out
    assert "paused" in out
    assert "being deleted" in out
