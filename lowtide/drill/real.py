"""What can be drilled in a real account: interruptions, by AWS Fault Injection Service. Printed, never run."""

import json
import shlex


def interruption_commands(
    *, account: str, region: str, stack: str, pool: str | None, instance_id: str | None
) -> list[str]:
    """Shell lines that make an experiment of one interruption and start it. The role is the owner's to name: it is the
    one that FIS acts with (its managed policy is AWSFaultInjectionSimulatorEC2Access)."""
    tags = {"lowtide:stack": stack, **({"lowtide:pool": pool} if pool else {})}
    chosen = (
        {"resourceArns": [f"arn:aws:ec2:{region}:{account}:instance/{instance_id}"], "selectionMode": "ALL"}
        if instance_id
        else {
            "resourceTags": tags,
            "filters": [{"path": "State.Name", "values": ["running"]}],
            "selectionMode": "COUNT(1)",
        }
    )
    experiment = {
        "description": f"Interrupt one spot instance of {stack}",
        "targets": {"instance": {"resourceType": "aws:ec2:spot-instance", **chosen}},
        "actions": {
            "interrupt": {
                "actionId": "aws:ec2:send-spot-instance-interruptions",
                "parameters": {"durationBeforeInterruption": "PT2M"},
                "targets": {"SpotInstances": "instance"},
            }
        },
        "stopConditions": [{"source": "none"}],
        "roleArn": f"arn:aws:iam::{account}:role/FIS_ROLE",
    }
    make = (
        f"aws fis create-experiment-template --region {region} --cli-input-json {shlex.quote(json.dumps(experiment))}"
    )
    start = f"aws fis start-experiment --region {region} --experiment-template-id"
    return [
        f"TEMPLATE=$({make} --query experimentTemplate.id --output text)",
        f'{start} "$TEMPLATE"',
    ]


NO_DRILL = (
    "there is no drill for this in a real account: nobody can move {what} there. Start one of your own with "
    "`lowtide local up` and drill in it, or play it with `lowtide simulate laws`; nothing was done"
)
