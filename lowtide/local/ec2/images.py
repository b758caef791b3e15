"""The public images of the local EC2: Amazon Linux 2023 and the Deep Learning Base AMI, of both architectures.

The ids of Amazon Linux are real where moto's package has them for the Region; the others are made from their names.
Their SSM parameters are those that AWS documents.
"""

import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

AMAZON = "137112412989"
DEEP_LEARNING = "898082745236"
ARCHITECTURES = ("x86_64", "arm64")
_DEEP_LEARNING_RELEASE = "20261120"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    image_id: str
    name: str
    description: str
    architecture: str
    owner_id: str
    parameter: str
    """The public SSM parameter that holds its id."""
    root_device: str = "/dev/xvda"


@cache
def public_images(region: str) -> tuple[Image, ...]:
    return tuple(
        image
        for architecture in ARCHITECTURES
        for image in (_amazon_linux(region, architecture), _deep_learning(region, architecture))
    )


def _amazon_linux(region: str, architecture: str) -> Image:
    listed = _listed(region)
    name = next((n for n in listed if n.startswith("al2023-ami-2023") and n.endswith(f"-6.1-{architecture}")), None)
    named = name or f"al2023-ami-2023.12.20260930.0-kernel-6.1-{architecture}"
    return Image(
        image_id=listed.get(named) or _made_id(region, named),
        name=named,
        description=f"Amazon Linux 2023 AMI {architecture} HVM kernel-6.1",
        architecture=architecture,
        owner_id=AMAZON,
        parameter=f"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}",
    )


def _deep_learning(region: str, architecture: str) -> Image:
    prefix = "" if architecture == "x86_64" else "ARM64 "
    name = f"Deep Learning {prefix}Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023) {_DEEP_LEARNING_RELEASE}"
    return Image(
        image_id=_made_id(region, name),
        name=name,
        description=f"NVIDIA driver and CUDA on Amazon Linux 2023, {architecture}",
        architecture=architecture,
        owner_id=DEEP_LEARNING,
        parameter=(
            f"/aws/service/deeplearning/ami/{architecture}/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
        ),
    )


@cache
def _listed(region: str) -> dict[str, str]:
    """Image id by name, of the Region's newest Amazon Linux images; empty for a Region that the package lacks."""
    path = files("moto") / f"ec2/resources/latest_amis/{region}.json.gz"
    if not path.is_file():
        return {}
    return {entry["name"]: entry["ami_id"] for entry in json.loads(gzip.decompress(path.read_bytes()))}


def _made_id(region: str, name: str) -> str:
    return f"ami-0{hashlib.sha256(f'{region}/{name}'.encode()).hexdigest()[:16]}"
