"""Stories drawn from seeds break no law; and a story can be told again, and made short."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from lowtide.cli.app import app
from lowtide.cli.errors import Failure
from lowtide.sim import storm

SEEDS = range(8)
"""As many as the suite has time for; `lowtide simulate laws` plays any number."""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_storm_breaks_no_law(seed: int) -> None:
    outcome = storm.played(storm.story(seed))
    assert outcome.violations == (), f"lowtide simulate laws --first {seed} --seeds 1"
    assert outcome.struck > 0


def test_the_verb_says_how_many_stories_broke_a_law() -> None:
    done = CliRunner().invoke(app, ["simulate", "laws", "--seeds", "1"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "1 stories" in done.output
    assert "0 broke a law" in done.output


def test_the_verb_shows_a_story_that_broke_one_in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    told = storm.story(0)
    guilty = told.incidents[0]

    def played(story: storm.Story) -> storm.Outcome:
        broken = ("law 1: a job is lost",) if guilty in story.incidents else ()
        return storm.Outcome(violations=broken, calls=1, struck=0, jobs=1)

    monkeypatch.setattr(storm, "played", played)
    with pytest.raises(Failure, match="--first 0 --seeds 1"):
        CliRunner().invoke(app, ["simulate", "laws", "--seeds", "1"], catch_exceptions=False, standalone_mode=False)


def test_the_same_story_gives_the_same_course() -> None:
    told = storm.story(3)
    assert storm.played(told) == storm.played(told)


def test_another_seed_is_another_story() -> None:
    assert storm.story(1) != storm.story(2)


def test_a_story_is_made_as_short_as_it_can_be() -> None:
    told = storm.story(5)
    guilty = {told.incidents[3], told.incidents[7]}

    def breaks(story: storm.Story) -> bool:
        return guilty <= set(story.incidents)

    assert storm.shortened(told, breaks) == replace(
        told, incidents=tuple(sorted(guilty, key=told.incidents.index)), faults=()
    )


def test_a_storm_sees_leases_that_nobody_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the return of leases that a dead instance held, its jobs never end: law 7 shows within ten seeds."""
    monkeypatch.setattr("lambdas.domain.plan.returned", lambda *_: [])
    assert any(storm.played(storm.story(seed)).violations for seed in range(10))
