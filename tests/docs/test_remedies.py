"""What remedies and documents say to deploy with is what the app reads: CDK takes any `-c` and ignores what it is not
asked for."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from infra import options
from lambdas.domain.refusals.refusal_table import RULES, UNKNOWN
from lambdas.domain.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CODE = [path for folder in ("lambdas", "lowtide", "infra") for path in (ROOT / folder).rglob("*.py")]
DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
OPTIONS = {
    name for names in re.findall(r"^\| (`[^|]*`) \|", str(options.__doc__), re.M) for name in names.split("`")[1::2]
}
NOT_CDKS = ("python -c", "python3 -c", "sh -c", "bash -c", "shutdown -c")


def told() -> Iterator[tuple[str, str]]:
    """(where, name of an option) of all that is said to be given with -c."""
    for path in (*CODE, *DOCUMENTS):
        text = path.read_text(encoding="utf-8")
        for found in re.finditer(r"(\S+ )?-c (?!name=value)([a-z_0-9]+)[=`]", text):
            if not f"{found[1] or ''}-c".endswith(NOT_CDKS):
                yield str(path.relative_to(ROOT)), found[2]


def test_every_option_that_is_told_is_one_that_the_app_reads() -> None:
    named = list(told())
    assert {"stack", "settings", "retention", "worker_roles"} <= {name for _, name in named}
    assert [(where, name) for where, name in named if name not in OPTIONS] == []


@pytest.mark.parametrize("code", [*sorted(RULES), ""])
def test_the_settings_in_a_remedy_are_settings(code: str) -> None:
    for rule in RULES.get(code, (UNKNOWN,)):
        for text in re.findall(r"-c settings='(.*?)'", rule.remedy):
            Settings.from_json(text)
            assert json.loads(text).keys() <= {each.name for each in fields(Settings)}
