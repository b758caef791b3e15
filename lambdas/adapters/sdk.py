"""AWS's clients, made of as little as they need: what making one costs is most of every cold start.

botocore's own session, since boto3 adds nothing to a client but the import of its resources and of S3's transfers. And
descriptions of only those operations that are called, which the functions' bundle holds (infra/models.py): EC2's whole
description takes as long to read as everything else together. Where there is none, as in a checkout, and for whatever
else it lacks (waiters, pages), botocore's own descriptions are read.
"""

from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.loaders import Loader

MODELS = Path(__file__).resolve().parents[2] / "models"
"""Beside `lambdas` in the bundle."""


class _Models(Loader):
    """Knows which services there are without looking through the directories of all four hundred."""

    def list_available_services(self, type_name: str) -> list[str]:
        if MODELS.is_dir():
            return [place.name for place in MODELS.iterdir()]
        return super().list_available_services(type_name)


@cache
def _session() -> Any:
    session: Any = botocore.session.get_session()
    session.register_component("data_loader", _Models(extra_search_paths=[str(MODELS)]))
    return session


def client(service: str, *, config: Config, region: str | None = None) -> Any:
    """What `boto3.client` gives, but for S3's uploads and downloads of files. `region` None: the function's own."""
    return _session().create_client(service, region_name=region, config=config)
