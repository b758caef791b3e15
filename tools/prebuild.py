"""Builds what is shipped before the tests run side by side, so that no two of them build it at the same time."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from infra.bundling import build_functions, build_worker  # noqa: E402 - the checkout is not a package of its own

for python, arch in {
    ("3.13", "arm64"),
    ("3.13", "x86_64"),
    (f"3.{sys.version_info.minor}", "x86_64"),
    ("3.12", "arm64"),
}:
    build_functions(ROOT, python=python, arch=arch)
build_worker(ROOT)
