"""Stories drawn from seeds break no law; and a story can be told again, and made short."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from lowtide.cli.app import app
from lowtide.cli.errors import Failure
from lowtide.sim import reach, storm
from lowtide.sim.fates import Channel, Fate
from lowtide.sim.storm import bulk
from lowtide.sim.storm.incidents import APART, KINDS, SILENT
from lowtide.sim.storm.story import Story, Strike

SEEDS = 200
"""As many as the suite has time for; `lowtide simulate laws` plays any number."""
DEALT = 10
"""Seeds that one test plays: 4 s or so."""


@pytest.mark.parametrize("first", range(0, SEEDS, DEALT))
def test_ten_storms_break_no_law(first: int) -> None:
    broken = {
        seed: found for seed in range(first, first + DEALT) if (found := storm.played(storm.told(seed)).violations)
    }
    assert broken == {}, "play one again: lowtide simulate laws --seeds 1 --first SEED"


def test_stories_have_every_kind_of_incident_and_of_fault() -> None:
    stories = [storm.told(seed) for seed in range(SEEDS)]
    assert {each.kind for story in stories for each in story.incidents} == {*KINDS, *APART, *SILENT}
    assert {strike for story in stories for _, strike in story.faults} == set(Strike)
    assert {(channel, fate) for story in stories for channel, _, fate in story.fates} == {
        (channel, fate) for channel in Channel for fate in Fate
    }
    assert {arrival.shape for story in stories for arrival in story.arrivals} == set(range(12))


def test_the_verb_says_how_many_stories_broke_a_law_and_what_struck_them() -> None:
    done = CliRunner().invoke(app, ["simulate", "laws", "--seeds", "1", "--first", "1"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "1 stories" in done.output
    assert "0 broke a law" in done.output
    assert "faults a story" in done.output


@pytest.mark.skipif(
    not reach.available(), reason="before Python 3.12 there is no sys.monitoring to count branches with"
)
def test_branches_are_counted_both_ways_and_only_while_it_is_wanted() -> None:
    with reach.measured(wanted=True) as reached:
        storm.played(storm.told(2))
    assert 500 < reached.taken < reached.known
    with reach.measured(wanted=False) as nothing:
        storm.played(storm.told(2))
    assert nothing.taken == 0


def test_the_verb_shows_a_story_that_broke_one_in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    guilty = storm.told(0).incidents[0]

    def played(story: Story) -> storm.Outcome:
        broken = ("law 1: a job is lost",) if guilty in story.incidents else ()
        return storm.Outcome(violations=broken, calls=1, struck={}, jobs=1)

    monkeypatch.setattr(storm, "played", played)
    monkeypatch.setattr(bulk, "played", played)
    with pytest.raises(Failure, match="--first 0 --seeds 1"):
        CliRunner().invoke(app, ["simulate", "laws", "--seeds", "1"], catch_exceptions=False, standalone_mode=False)


def test_the_same_story_gives_the_same_course() -> None:
    told = storm.told(3)
    assert storm.played(told) == storm.played(told)


def test_another_seed_is_another_story() -> None:
    assert storm.told(1) != storm.told(2)


def test_a_story_is_made_as_short_as_it_can_be() -> None:
    told = storm.told(6)
    guilty = {told.incidents[1], told.incidents[3]}

    def breaks(story: Story) -> bool:
        return guilty <= set(story.incidents)

    assert storm.shortened(told, breaks) == replace(
        told, incidents=tuple(sorted(guilty, key=told.incidents.index)), arrivals=(), faults=(), fates=()
    )
