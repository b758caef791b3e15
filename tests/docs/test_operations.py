"""The runbook has a section for every class of reasons, in the order in which to act on them, and for every alarm."""

import re
from pathlib import Path

import pytest

from lambdas import names
from lambdas.control.shortage_news import Turn
from lambdas.domain.reasons import ReasonClass
from lambdas.domain.refusals.shortages import LEAST_GROUND, OWNERS_OWN, PAST_KEPT

RUNBOOK = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
_REASONS = RUNBOOK.partition("\n## What the reasons mean\n")[2].partition("\n## ")[0]
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^### |\Z)", _REASONS, re.M | re.S))


def test_every_class_of_reasons_has_its_section_in_the_order_of_usefulness() -> None:
    assert list(SECTIONS) == [each.value for each in ReasonClass]


@pytest.mark.parametrize("reason_class", ReasonClass)
def test_a_section_says_what_the_class_means_and_what_to_do(reason_class: ReasonClass) -> None:
    meaning = re.match(r"\n\*[^*]+\*", SECTIONS[reason_class])
    assert meaning, "it begins with what the class means, in italics"
    assert len(SECTIONS[reason_class][meaning.end() :].split()) >= 5, "and goes on with what to do"


def test_the_sections_say_what_nobody_is_alarmed_for() -> None:
    assert {name for name, text in SECTIONS.items() if "Nobody is alarmed." in text} == {c.value for c in OWNERS_OWN}


@pytest.mark.parametrize("section", names.RUNBOOK_SECTIONS.values())
def test_every_alarm_has_its_section(section: str) -> None:
    titles = re.findall(r"^## (.*)$", RUNBOOK, re.M)
    assert section in {title.lower().replace(" ", "-") for title in titles}


def test_what_is_told_of_a_shortage_is_told_in_the_runbooks_words() -> None:
    assert f"`{names.EVENT_POOL_SHORTAGE}`" in RUNBOOK
    assert f"source `{names.EVENT_SOURCE}`" in RUNBOOK
    for turn in Turn:
        assert f"`{turn.value}`" in RUNBOOK


def test_the_numbers_of_an_estimate_are_those_of_the_code() -> None:
    words = {3: "three", 16: "sixteen"}
    assert f"at least {words[LEAST_GROUND]} earlier shortages" in RUNBOOK
    assert f"the last {words[PAST_KEPT]} are kept" in RUNBOOK
