"""The environment of the peer that decisions are compared with: made when first needed, never by `make setup`."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import uv

from lowtide.bench.results import ROOT

REQUIREMENTS = ROOT / "requirements" / "bench.txt"
ENVIRONMENT = ROOT / ".venv-bench"
_SCHEDULER = Path(__file__).with_name("ray_scheduler.py")


def environment() -> Path:
    """Its Python: with what requirements/bench.txt pins."""
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".ready"
    wanted = sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(ENVIRONMENT)], check=True)
        install = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", str(python), "--require-hashes"]
        subprocess.run([*install, "-r", str(REQUIREMENTS)], check=True)
        stamp.write_text(wanted)
    return python


def schedule(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What Ray's scheduler answers (ray_scheduler.py)."""
    done = subprocess.run(
        [str(environment()), "-B", str(_SCHEDULER)],
        input=json.dumps(asked),
        env={"PATH": os.defpath, "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
