"""The public parameters that name the current images: AL2023, and for GPU types the Deep Learning Base AMI."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError

from lambdas.adapters.table import Unavailable
from lambdas.domain.pools.pools import TypeFacts

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

NAMES_A_CALL = 10
"""GetParameters takes ten names."""


def image_parameter(facts: TypeFacts) -> str:
    """The public parameter that holds the image for this type. The GPU images carry NVIDIA's open driver."""
    if facts.gpus:
        return (
            f"/aws/service/deeplearning/ami/{facts.architecture}"
            "/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
        )
    return f"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{facts.architecture}"


class Images:
    def __init__(self, client: "SSMClient") -> None:
        self._client = client

    def of(self, types: Iterable[TypeFacts]) -> dict[str, str]:
        """Image id by instance type. A type whose parameter the Region does not have is left out.

        Raises Unavailable when there was no answer, ClientError when SSM refused (no permission, throttled)."""
        parameters = {facts.name: image_parameter(facts) for facts in types}
        values = self._values(sorted(set(parameters.values())))
        return {name: values[parameter] for name, parameter in parameters.items() if parameter in values}

    def _values(self, wanted: list[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for start in range(0, len(wanted), NAMES_A_CALL):
            try:
                answer: Any = self._client.get_parameters(Names=wanted[start : start + NAMES_A_CALL])
            except BotoCoreError as error:
                raise Unavailable(str(error)) from error
            found.update({p["Name"]: p["Value"] for p in answer.get("Parameters", [])})
        return found
