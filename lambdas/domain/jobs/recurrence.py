"""Which jobs are runs of the same thing, and how long the next of them will take, by the pool's own past."""

import hashlib
import json
from collections.abc import Sequence
from decimal import Decimal

from lambdas.domain.jobs.jobs import JobSpec

NAME_TAG = "name"
LOOKED_AT = 10
"""Last runs that an estimate is made from: enough for a slow one to be among them, few enough to follow a new version
of the program. As many as of launches (lead.py)."""


def recurs_as(spec: JobSpec) -> str:
    """The same for two jobs of one pool that are runs of the same thing: those whose `tags.name` is the same; without
    that tag, those with the same command, image, and slots or resources. 32 hexadecimal digits; variables, inputs and
    all else may differ."""
    named = dict(spec.tags).get(NAME_TAG)
    alike = ["name", named] if named else ["command", *spec.command, spec.image, spec.slots, _asked(spec)]
    return hashlib.sha256(json.dumps(alike).encode()).hexdigest()[:32]


def _asked(spec: JobSpec) -> object:
    return spec.resources and spec.resources.to_document()


def learned(seconds: Sequence[Decimal]) -> Decimal | None:
    """The longest of the last runs, given in any order: it errs towards being in time. None: there was none."""
    return max(seconds, default=None)
