"""The peer of benchmark `decisions`, run in an environment of its own (requirements/bench.txt): the scheduler of Ray's
v2 autoscaler, alone, without a cluster.

    stdin   {"types": [{"name": "m6i.large", "resources": {"CPU": 2, "memory": 8192, "GPU": 0}}, …],
             "running": {"m6i.large": 3}, "demands": [[{"CPU": 1, "memory": 512, "GPU": 0}, 40], …], "runs": 3}
    stdout  {"seconds": [0.31, …], "launched": {"m6i.large": 20}, "infeasible": 0, "version": "2.60.0"}

Nothing else of the project is imported here, and nothing is imported from here.
"""

# Ray is in that environment alone, and has no types.
# pyright: basic, reportMissingImports=false

import json
import sys
import time
from typing import Any

import ray
from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.schema import AutoscalerInstance
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import NodeState, ResourceRequestByCount
from ray.core.generated.instance_manager_pb2 import Instance, NodeKind

MOST = 1_000_000


def main() -> None:
    asked = json.load(sys.stdin)
    request = scheduling_request(asked)
    runs = [_scheduled(request) for _ in range(asked["runs"])]
    reply = runs[-1][1]
    launched = {each.instance_type: each.count for each in reply.to_launch if each.instance_type != HEAD}
    told = {
        "seconds": [seconds for seconds, _ in runs],
        "launched": launched,
        "infeasible": len(reply.infeasible_resource_requests),
    }
    print(json.dumps({**told, "version": ray.__version__}))


def _scheduled(request: SchedulingRequest) -> tuple[float, Any]:
    """CPU seconds, and the answer."""
    began = time.process_time()
    reply = ResourceDemandScheduler().schedule(request)
    return time.process_time() - began, reply


HEAD = "head"
"""Ray's clusters have one; it takes no work here."""


def scheduling_request(asked: dict[str, Any]) -> SchedulingRequest:
    types = {
        each["name"]: NodeTypeConfig(
            name=each["name"], min_worker_nodes=0, max_worker_nodes=MOST, resources=_needed(each["resources"])
        )
        for each in asked["types"]
    }
    types[HEAD] = NodeTypeConfig(name=HEAD, min_worker_nodes=0, max_worker_nodes=1, resources={})
    return SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=types,
        max_num_nodes=MOST,
        resource_requests=[
            ResourceRequestByCount(request=ResourceRequestUtil.make(_needed(bundle)), count=count)
            for bundle, count in asked["demands"]
        ],
        current_instances=[_instance(HEAD, {}, kind=NodeKind.HEAD, number=0)]
        + [
            _instance(name, _needed(types[name].resources), kind=NodeKind.WORKER, number=number)
            for name, count in asked["running"].items()
            for number in range(count)
        ],
    )


def _needed(bundle: dict[str, float]) -> dict[str, float]:
    """Without what is asked nothing of."""
    return {name: amount for name, amount in bundle.items() if amount}


def _instance(name: str, resources: dict[str, float], *, kind: int, number: int) -> AutoscalerInstance:
    return AutoscalerInstance(
        cloud_instance_id=f"{name}-{number}",
        ray_node=NodeState(
            node_id=f"{name}-{number}".encode(),
            ray_node_type_name=name,
            available_resources=resources,
            total_resources=resources,
            status="RUNNING",
        ),
        im_instance=Instance(
            instance_id=f"{name}-{number}", instance_type=name, status=Instance.RAY_RUNNING, node_kind=kind
        ),
    )


if __name__ == "__main__":
    main()
