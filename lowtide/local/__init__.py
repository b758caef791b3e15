"""The local AWS: Lowtide's own stack, deployed by the real CDK CLI into one process on this machine's loopback.

`up`, `down` and `status` are what the command line calls. `complete.LocalAws` is the same in the caller's own process,
as the demo and the tests have it; `world.World` is its AWS without a market and without instances.
"""

from lowtide.local.deploy import DeployFailed
from lowtide.local.lifecycle import LocalError, Running, down, status, up

__all__ = ["DeployFailed", "LocalError", "Running", "down", "status", "up"]
