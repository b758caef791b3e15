"""The jobs in the documents are jobs: the control plane's own reader takes them."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lambdas.domain.jobs.job_message import parse_message
from lambdas.domain.jobs.jobs import JobSpec
from lambdas.domain.pools.pools import Pool, TypeFacts

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").glob("*.md") if p.name != "worker-api.md")]
"""The worker API's document shows jobs as workers get them."""
TYPE = TypeFacts(
    name="g4dn.xlarge",
    vcpus=4,
    memory_mib=16_384,
    gpus=1,
    architecture="x86_64",
    slots=1,
    on_demand_price=Decimal("0.526"),
)
POOLS = {name: Pool(name=name, spot=True, types=(TYPE,), max_instances=3) for name in ("cpu", "gpu")}


def shown(document: Path) -> list[Any]:
    """Every JSON example that is a message, in a block or in the text."""
    text = document.read_text(encoding="utf-8")
    blocks = [*re.findall(r"```json\n(.*?)```", text, re.S), *re.findall(r"`(\{\"pool\".*?\})`", text)]
    return [
        json.loads(block) for block in blocks if '"command":' in block and '"pool":' in block and "detail" not in block
    ]


EXAMPLES = [pytest.param(body, id=f"{path.stem} {n}") for path in DOCUMENTS for n, body in enumerate(shown(path))]


def test_there_are_jobs_in_the_documents_that_speak_of_them() -> None:
    assert {"README", "jobs", "migration"} <= {path.stem for path in DOCUMENTS if shown(path)}


@pytest.mark.parametrize("body", EXAMPLES)
def test_a_job_in_the_documents_is_one(body: Any) -> None:
    assert isinstance(parse_message(json.dumps(body), message_id="m-1", pools=POOLS), JobSpec)
