"""Where a doctor looks: the account's clients, the stack if it is there, and what its functions were told."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lambdas import names
from lowtide.cli.connection import Deployment

RECONCILE = "ControlReconcile"
WORKER_API = "WorkerApiFunction"
"""How the logical ids of two of the stack's functions begin (infra/stack.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A deployed stack as far as launches hang on it."""

    name: str
    reconcile: str
    """The name of the function that launches."""
    subnets: tuple[tuple[str, str], ...]
    """(zone, subnet id), for pools that name none."""
    roles: frozenset[str]
    """Names of the roles that instances may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    deployment: Deployment
    stack: Stack | None
    """None: not deployed."""
    _clients: dict[str, Any] = field(default_factory=dict[str, Any])

    def client(self, service: str) -> Any:
        """One of each."""
        if service not in self._clients:
            self._clients[service] = self.deployment.client(service)
        return self._clients[service]


def deployed(deployment: Deployment) -> Stack:
    """Raises Failure where there is no such stack, ClientError where it may not be read, LookupError where it has not
    the functions of a Lowtide."""
    deployment.output(names.OUTPUT_TABLE_NAME)
    functions = _functions(deployment)
    told = {part: _variables(deployment, functions, part) for part in (RECONCILE, WORKER_API)}
    return Stack(
        name=deployment.stack,
        reconcile=_named(functions, RECONCILE),
        subnets=tuple(sorted(json.loads(told[RECONCILE].get(names.ENV_SUBNETS, "{}")).items())),
        roles=frozenset(json.loads(told[WORKER_API].get(names.ENV_WORKER_ROLES, "[]"))),
    )


def _functions(deployment: Deployment) -> dict[str, str]:
    """Names of the stack's functions by logical id."""
    pages = (
        deployment.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=deployment.stack)
    )
    resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
    return {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for resource in resources
        if resource["ResourceType"] == "AWS::Lambda::Function"
    }


def _named(functions: Mapping[str, str], part: str) -> str:
    found = [name for logical_id, name in functions.items() if logical_id.startswith(part)]
    if len(found) != 1:
        raise LookupError(f"the stack has {len(found)} functions {part}…, not one")
    return found[0]


def _variables(deployment: Deployment, functions: Mapping[str, str], part: str) -> Mapping[str, str]:
    answer = deployment.client("lambda").get_function_configuration(FunctionName=_named(functions, part))
    return answer.get("Environment", {}).get("Variables", {})
