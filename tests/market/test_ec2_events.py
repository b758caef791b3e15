"""How instances of the local AWS end, and what is told of them: to the host, on the event bus, in Describe."""

import json

from tests.market.ec2_calls import TOKENS, eventually, launch, refused, visible
from tests.market.worlds import TYPE, B, C


def test_a_terminated_instance_loses_its_host_and_its_volume_and_stays_listed(local):
    [instance_id] = launch(local)
    volume_id = visible(local, instance_id)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    [volume] = local.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    assert (volume["Size"], volume["Encrypted"]) == (200, True)
    [change] = local.ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"]
    assert change["CurrentState"]["Name"] == "shutting-down"
    local.hosts.wait("terminate", instance_id)
    eventually(lambda: visible(local, instance_id)["State"]["Name"] == "terminated")
    assert visible(local, instance_id)["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    eventually(lambda: refused(local.ec2.describe_volumes, VolumeIds=[volume_id]) or True)


def test_a_guest_that_powers_itself_off_is_terminated(local):
    [instance_id] = launch(local)
    local.hosts.on_shutdown(instance_id)
    eventually(lambda: visible(local, instance_id)["State"]["Name"] == "terminated")
    assert visible(local, instance_id)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_an_interruption_reaches_host_and_event_bus_and_ends_the_instance(local):
    queue = listening(local, "EC2 Spot Instance Interruption Warning")
    [instance_id] = launch(local, B)
    local.control.interrupt(instance_id)
    local.hosts.wait("notice", instance_id, "terminate")
    event = next_event(local, queue, instance_id)
    assert event["source"] == "aws.ec2"
    assert event["detail"] == {"instance-id": instance_id, "instance-action": "terminate"}
    assert event["resources"] == [f"arn:aws:ec2:{B}:instance/{instance_id}"]
    local.hosts.wait("terminate", instance_id)
    eventually(lambda: visible(local, instance_id)["State"]["Name"] == "terminated")
    assert visible(local, instance_id)["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    found = local.ec2.describe_spot_instance_requests(Filters=[{"Name": "instance-id", "Values": [instance_id]}])
    assert found["SpotInstanceRequests"][0]["Status"]["Code"] == "instance-terminated-by-service"


def test_state_changes_are_events(local):
    queue = listening(local, "EC2 Instance State-change Notification")
    [instance_id] = launch(local)
    states = {next_event(local, queue, instance_id)["detail"]["state"] for _ in range(2)}
    assert states == {"pending", "running"}


def test_a_scripted_strike_waits_for_an_instance_that_works(local):
    idle, working = launch(local, C, target=2)
    local.hosts.working.add(working)
    local.control.script([{"interrupt": 1, "zone": C, "instance_type": TYPE, "from": 0.1}])
    local.hosts.wait("notice", working)
    assert "notice" not in local.hosts.of(idle)


def listening(local, detail_type):
    """A queue that gets the events of this type."""
    name = next(TOKENS)
    sqs, events = local.world.client("sqs"), local.world.client("events")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = json.dumps({"source": ["aws.ec2"], "detail-type": [detail_type]})
    rule = events.put_rule(Name=name, EventPattern=pattern)["RuleArn"]
    allow = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
    statement = {**allow, "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": rule}}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])
    return url


def next_event(local, queue, instance_id):
    sqs = local.world.client("sqs")

    def received():
        for message in sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", []):
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            event = json.loads(message["Body"])
            if event["detail"]["instance-id"] == instance_id:
                return event
        return None

    return eventually(received)
