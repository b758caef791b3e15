"""The documents say what the code does."""

import re
from pathlib import Path

import pytest
import typer
import yaml

from lowtide.cli.app import app
from lowtide.poolfile.load import parse
from lowtide.poolfile.schema import PoolEntry, Provider
from tests.cli.test_sentences import verbs

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(document: str) -> dict[str, str]:
    """First cell in back quotes -> the whole row, of every table row that begins so."""
    found = re.findall(r"^\| `([a-z_]+)` (\|.*)$", (DOCS / document).read_text(encoding="utf-8"), re.M)
    return dict(found)


def test_the_pools_reference_has_every_key_and_no_other() -> None:
    assert set(rows("pools.md")) == set(PoolEntry.model_fields) | set(Provider.model_fields)


def test_the_examples_in_the_pools_reference_are_valid() -> None:
    whole, *parts = re.findall(r"```yaml\n(.*?)```", (DOCS / "pools.md").read_text(encoding="utf-8"), re.S)
    assert not parse(whole).problems
    for part in parts:
        provider = {"type": "aws", "spot": True, "instance_type": "m7i.large", **yaml.safe_load(part)}
        assert not parse(yaml.safe_dump({"resource_pools": [{"pool_name": "p", "provider": provider}]})).problems


def test_the_jobs_reference_has_every_field_of_a_message() -> None:
    from lambdas.domain.jobs.job_message import READERS

    fields = {name for name in rows("jobs.md") if name.islower()}
    assert fields == set(READERS)


@pytest.mark.parametrize("document", ["pools.md", "operations.md", "jobs.md"])
def test_every_command_in_the_documents_is_a_verb(document: str) -> None:
    text = (DOCS / document).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    commands = [line.split()[1:] for block in blocks for line in block.splitlines() if line.startswith("lowtide ")]
    known = {path for path, _ in verbs(typer.main.get_command(app))}
    unknown = [" ".join(words) for words in commands if not {words[0], " ".join(words[:2])} & known]
    assert not unknown
