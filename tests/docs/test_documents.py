"""What the documents tell people to type exists: commands and their options, recipes, links, deploy options."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from infra import options
from lambdas import names
from lowtide.cli.app import app
from lowtide.demo.workload import WAVES

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
COMMAND: click.Command = typer.main.get_command(app)  # pyright: ignore[reportAssignmentType] - typer has a click of its own

_FENCED = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]+)?\)")


def _name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def _typed(document: Path) -> Iterator[list[str]]:
    """Every command line of the shell examples and every one quoted in the text, in words, comments left out."""
    yield from _copied(document)
    for quoted in re.findall(r"`((?:lowtide|make) [^`]+)`", document.read_text(encoding="utf-8")):
        yield shlex.split(quoted)


def _copied(document: Path) -> Iterator[list[str]]:
    """The lines of the shell examples: what people copy."""
    for block in _FENCED.findall(document.read_text(encoding="utf-8")):
        for line in filter(str.strip, block.splitlines()):
            yield shlex.split(line, comments=True)


ALL_TYPED = [(_name(document), words) for document in DOCUMENTS for words in _typed(document)]
LOWTIDE = [
    pytest.param(words[1:], id=f"{name}: {' '.join(words)}") for name, words in ALL_TYPED if words[:1] == ["lowtide"]
]
COPIED = [
    pytest.param(words[1:], id=f"{_name(document)}: {' '.join(words)}")
    for document in DOCUMENTS
    for words in _copied(document)
    if words[:1] == ["lowtide"]
]
MAKE = [pytest.param(words[1], id=f"{name}: {' '.join(words)}") for name, words in ALL_TYPED if words[:1] == ["make"]]
LINKS = [
    pytest.param(document, *link, id=f"{_name(document)}: {''.join(link)}")
    for document in DOCUMENTS
    for link in _LINK.findall(document.read_text(encoding="utf-8"))
    if "://" not in link[0]
]


def _verb(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and what is left of them. Raises AssertionError for an unknown verb."""
    command, left = COMMAND, list(words)
    while (commands := getattr(command, "commands", None)) is not None:
        assert left, f"{' '.join(words)} names no verb"
        assert left[0] in commands, f"lowtide {' '.join(words)}: there is no {left[0]}"
        command = commands[left.pop(0)]
    return command, left


@pytest.mark.parametrize("words", LOWTIDE)
def test_a_command_in_the_documents_is_one_that_there_is(words: list[str]) -> None:
    command, left = _verb(words)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    own = left[: left.index("--")] if "--" in left else left
    assert {word.partition("=")[0] for word in own if word.startswith("-")} <= {*known, "--help"}


@pytest.mark.parametrize("words", COPIED)
def test_a_command_in_the_documents_is_taken_by_the_command_lines_own_parser(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every value that it needs, and each one that may be; nothing is run. Files that it names are there."""
    monkeypatch.chdir(tmp_path)
    command, left = _verb(words)
    for word in left:
        if word.endswith((".yaml", ".json", ".jsonl")):
            (tmp_path / word).touch()
    command.make_context(" ".join(words), left)


@pytest.mark.parametrize("recipe", MAKE)
def test_a_recipe_in_the_documents_is_one_that_there_is(recipe: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert recipe in re.findall(r"^([a-z-]+):", makefile, re.M)


@pytest.mark.parametrize(("document", "target", "section"), LINKS)
def test_a_link_leads_to_something_that_there_is(document: Path, target: str, section: str) -> None:
    place = document.parent / target
    assert place.exists()
    if section:
        titles = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.M)
        assert section[1:] in {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_has_every_deploy_option_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (_, _, table) = readme.partition("| `cdk deploy -c …` | meaning | default |\n")
    rows = [row for row in table.split("\n\n")[0].splitlines() if row.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert told == _deploy_options()


def _deploy_options() -> set[str]:
    """Those that infra/options.py reads, by asking it."""
    asked: set[str] = set()

    def context(name: str) -> None:
        asked.add(name)

    options.Options.read(context, {})
    return asked


def test_every_decision_is_in_the_index_under_its_own_title() -> None:
    place = ROOT / "docs" / "adr"
    index = (place / "README.md").read_text(encoding="utf-8")
    for record in sorted(place.glob("0*.md")):
        number, title = record.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").split(". ", 1)
        assert f"| {number} | [{title}]({record.name}) |" in index
        assert record.name.startswith(f"{int(number):04d}-")


def test_the_readme_counts_the_demos_jobs_right() -> None:
    jobs = sum(wave.jobs for wave in WAVES)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"runs {jobs} real jobs" in readme
    assert f"{jobs} of {jobs} jobs succeeded" in readme


def test_there_is_something_to_check() -> None:
    assert len(LOWTIDE) > 10
    assert len(MAKE) > 5
    assert len(LINKS) > 15


def test_the_runbook_has_every_metric_and_no_other() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (_, _, table) = operations.partition("| metric | what it counts |\n")
    told = [name for row in table.split("\n\n")[0].splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(told) == sorted(value for name, value in vars(names).items() if name.startswith("METRIC_"))
