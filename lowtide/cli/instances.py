"""`lowtide instances`: what runs, what it costs, why it was launched; draining and ending by hand."""

from datetime import datetime
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError

from lambdas.adapters.decisions import Decisions
from lambdas.adapters.ec2 import Ec2
from lambdas.adapters.launch_table import LaunchTable
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.table import Conflict
from lambdas.domain.instants import to_text
from lambdas.domain.plan.decision import Decision
from lambdas.domain.words import dollars, several
from lowtide.cli import fleet_store
from lowtide.cli.asking import confirm
from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Failure
from lowtide.cli.fleet_store import Busy, Held
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack, Yes
from lowtide.cli.output import ago, console, print_json, print_rows
from lowtide.cli.pool_store import pool_named

app = typer.Typer(help="Instances: list, show, drain, terminate.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Instance id.", metavar="INSTANCE")]

_BY_HAND = "drained by an operator"
_CONSOLE_LINES = 20
"""The end of the console output that a person is shown; `--json` has all of it."""


@app.command("list")
def list_instances(
    pool: Annotated[str | None, typer.Option(help="Only this pool's.")] = None,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Every instance that Lowtide knows."""
    deployment = Deployment(stack)
    store = PoolConfig(deployment.table)
    pools = [pool_named(store, pool)] if pool else store.pools()
    found = list(fleet_store.instances(deployment.table, [each.name for each in pools]))
    if as_json:
        print_json([_summary(held) for held in found])
        return
    now = deployment.now()
    rows = [
        {
            **_summary(held),
            **{"type": held.instance.instance_type, "zone": held.instance.zone, "kind": held.instance.capacity_type},
            **{"age": ago(held.instance.launched_at, now), "jobs": len(held.leases)},
        }
        for held in found
    ]
    columns = ("instance_id", "pool", "state", "type", "zone", "kind", "age", "jobs")
    print_rows(columns, rows, empty="No instances.")


@app.command()
def show(instance_id: Id, stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """One instance: its jobs, its offering and price, the decision that launched it, its console, and the way in."""
    deployment = Deployment(stack)
    held = _recorded(deployment, instance_id)
    instance = held.instance
    pool = PoolConfig(deployment.table).pool(instance.pool)
    decision = Decisions(deployment.table).that_launched(instance.pool, instance.decision, instance.launched_at)
    document = {
        **_summary(held),
        "price_usd_per_hour": fleet_store.price_now(deployment.table, instance, pool),
        "launched_by": decision and _launched_by(decision, instance.decision),
        "console_output": _console_output(deployment, instance_id),
        "connect": f"aws ssm start-session --target {instance_id}",
    }
    if as_json:
        print_json(document)
        return
    _show(document, deployment.now())


@app.command()
def drain(instance_id: Id, stack: Stack = DEFAULT_STACK) -> None:
    """Give the instance no new jobs; it ends when its jobs have."""
    deployment = Deployment(stack)
    deployment.announce()
    held = _recorded(deployment, instance_id)
    _drain(deployment, held, idle_only=False)
    jobs = several(len(held.leases), "job")
    console().print(f"{instance_id}: draining" + (f", {jobs} still running" if held.leases else ""), markup=False)


@app.command()
def terminate(
    instance_id: Id,
    force: Annotated[bool, typer.Option("--force", help="Although it runs jobs: they are queued again.")] = False,
    stack: Stack = DEFAULT_STACK,
    yes: Yes = False,
) -> None:
    """End an instance now. Refused while it runs a job, unless forced."""
    deployment = Deployment(stack)
    deployment.announce()
    held = fleet_store.recorded(deployment.table, instance_id)
    if not fleet_store.carries_the_stacks_tag(deployment, instance_id):
        raise Failure(f"{instance_id} is no instance of stack {stack}: see `lowtide instances list`")
    if held and held.leases and not force:
        raise _busy(held)
    jobs = f", which runs {several(len(held.leases), 'job')}" if held and held.leases else ""
    confirm(f"End {instance_id}{jobs}?", yes=yes)
    if held:
        _drain(deployment, held, idle_only=not force)
    _end(deployment, instance_id)
    if held:
        LaunchTable(deployment.table).termination_requested(held.instance.pool, [instance_id], deployment.now())
    console().print(f"{instance_id}: ending", markup=False)


def _recorded(deployment: Deployment, instance_id: str) -> Held:
    if (held := fleet_store.recorded(deployment.table, instance_id)) is None:
        raise Failure(f"there is no instance {instance_id}: see `lowtide instances list`")
    return held


def _drain(deployment: Deployment, held: Held, *, idle_only: bool) -> None:
    try:
        fleet_store.drain(deployment.table, held.instance, deployment.now(), _BY_HAND, idle_only=idle_only)
    except Busy as error:
        raise _busy(held) from error
    except Conflict as error:
        raise Failure(f"{held.instance.instance_id} has ended just now: see `lowtide instances list`") from error


def _busy(held: Held) -> Failure:
    name = held.instance.instance_id
    jobs = ", ".join(lease.job_id for lease in held.leases) or "a job that it has just taken"
    return Failure(
        f"{name} runs {jobs}: drain it (`lowtide instances drain {name}`), or end it with --force and its jobs are "
        "queued again"
    )


def _end(deployment: Deployment, instance_id: str) -> None:
    ended = Ec2(deployment.client("ec2"), deployment.stack).terminate([instance_id])
    if ended.failures:
        failure = ended.failures[0]
        raise Failure(f"EC2 did not end {instance_id} ({failure.code}: {failure.message}): see the message")


# --- what is shown ----------------------------------------------------------------------------------------------------


def _summary(held: Held) -> dict[str, Any]:
    instance = held.instance
    return {
        **{"instance_id": instance.instance_id, "pool": instance.pool, "state": instance.state.value},
        **{"instance_type": instance.instance_type, "availability_zone": instance.zone},
        **{"lifecycle": instance.capacity_type.value, "slots": instance.slots, "launched_at": instance.launched_at},
        **{"idle_since": instance.idle_since, "ends_at": instance.ends_at, "drain_reason": instance.drain_reason},
        **{"state_reason": instance.state_reason, "price_limit_usd_per_hour": instance.price_limit},
        "decision": instance.decision,
        "jobs": [lease.job_id for lease in held.leases],
    }


def _launched_by(decision: Decision, tag: str) -> dict[str, Any]:
    """What the decision did that this instance came of."""
    action = next(a for a in decision.actions if a.get("decision") == tag)
    why = str(action.get("why", ""))
    return {"at": decision.at, "pool_version": decision.pool_version, "why": why, "detail": action.get("detail")}


def _console_output(deployment: Deployment, instance_id: str) -> str | None:
    """None: EC2 has none (yet), or does not tell."""
    try:
        return deployment.client("ec2").get_console_output(InstanceId=instance_id).get("Output") or None
    except ClientError:
        return None


def _show(document: dict[str, Any], now: datetime) -> None:
    price, limit = document["price_usd_per_hour"], document["price_limit_usd_per_hour"]
    launched, by = document["launched_at"], document["launched_by"]
    lines = {
        "instance": f"{document['instance_id']}, {document['state']}",
        "pool": document["pool"],
        "offering": f"{document['instance_type']}, {document['lifecycle']}, in {document['availability_zone']}",
        "price": ("not known" if price is None else f"{dollars(price)} an hour")
        + ("" if limit is None else f", asked for at most {dollars(limit)}"),
        "launched": f"{launched:%Y-%m-%d %H:%M:%S} UTC ({ago(launched, now)} ago)",
        "decision": f"{document['decision']}" + (f": {by['why']} (version {by['pool_version']})" if by else ""),
        "jobs": ", ".join(document["jobs"]) or "none",
        "idle since": document["idle_since"] and to_text(document["idle_since"]),
        "ends at": document["ends_at"] and to_text(document["ends_at"]),
        "draining": document["drain_reason"],
        "EC2's reason": document["state_reason"],
        "connect": document["connect"],
    }
    if by:
        lines["why then"] = f"lowtide why {document['pool']} --at {to_text(by['at'])}"
    for name, value in lines.items():
        if value is not None:
            console().print(f"{name:<11} {value}", markup=False)
    if output := document["console_output"]:
        console().print("\nThe end of its console:", markup=False)
        for line in output.splitlines()[-_CONSOLE_LINES:]:
            console().print(f"  {line}", markup=False)
