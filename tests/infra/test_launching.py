"""Who may launch, end and name instances, and what they are launched from."""

import json
import re
from typing import Any

import pytest

from infra.worker import USER_DATA_BYTES, boot_script
from lambdas import names
from tests.infra.template import ACCOUNT, REGION, ROOT, Template, actions, as_list, synthesized, text

HANDLERS = ("intake", "tick", "reconcile", "news", "worker_api", "catalogue", "job_events", "notices", "teardown")
TAGGED = {"StringEquals": {f"aws:RequestTag/{names.TAG_STACK}": "Lowtide"}}
MADE = ("fleet", "instance", "volume", "network-interface", "spot-instances-request")


def resources(statement: dict[str, Any]) -> set[str]:
    return {text(resource) for resource in as_list(statement["Resource"])}


def allowed(template: Template, handler: str) -> set[str]:
    return {action for statement in template.statements(handler) for action in actions(statement)}


def launch_templates(template: Template) -> dict[str, dict[str, Any]]:
    """By capacity type: the template that reconcile is told to use for it."""
    variables = template.function("reconcile")[1]["Environment"]["Variables"]
    ids = {"on-demand": names.ENV_LAUNCH_TEMPLATE, "spot": names.ENV_SPOT_LAUNCH_TEMPLATE}
    return {
        capacity_type: template.resources[variables[name]["Ref"]]["Properties"]["LaunchTemplateData"]
        for capacity_type, name in ids.items()
    }


# --- permissions ---


def test_only_consoles_of_the_stacks_instances_are_read_and_by_reconcile_alone(template: Template) -> None:
    ((_, statement),) = [(n, s) for n, s in template.policies() if "ec2:GetConsoleOutput" in actions(s)]
    assert statement == template.statement("reconcile", "ReadOwnConsoles")
    assert resources(statement) == {f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/*"}
    assert statement["Condition"] == {"StringEquals": {f"ec2:ResourceTag/{names.TAG_STACK}": "Lowtide"}}


def test_only_reconcile_launches_and_gives_roles() -> None:
    template = synthesized()
    for action in ("ec2:CreateFleet", "ec2:RunInstances", "ec2:CreateTags", "iam:PassRole"):
        assert {handler for handler in HANDLERS if action in allowed(template, handler)} == {"reconcile"}, action


ENDING = ("reconcile", "tick", "teardown")


def test_only_reconcile_the_tick_and_teardown_end_instances(template: Template) -> None:
    assert {h for h in HANDLERS if "ec2:TerminateInstances" in allowed(template, h)} == set(ENDING)


@pytest.mark.parametrize("handler", ENDING)
def test_only_instances_with_the_stacks_tag_are_ever_ended(template: Template, handler: str) -> None:
    (statement,) = (s for s in template.statements(handler) if "ec2:TerminateInstances" in actions(s))
    assert actions(statement) == ["ec2:TerminateInstances"]
    assert resources(statement) == {f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/*"}
    assert statement["Condition"] == {"StringEquals": {f"ec2:ResourceTag/{names.TAG_STACK}": "Lowtide"}}


def test_everything_that_a_launch_makes_is_made_only_with_the_stacks_tag(template: Template) -> None:
    statement = template.statement("reconcile", "MakeTagged")
    assert set(actions(statement)) == {"ec2:CreateFleet", "ec2:RunInstances"}
    assert resources(statement) == {f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}/*" for kind in MADE}
    assert statement["Condition"] == TAGGED


def test_only_the_stacks_own_and_what_carries_its_tag_is_launched_from(template: Template) -> None:
    statement = template.statement("reconcile", "LaunchFrom")
    assert set(actions(statement)) == {"ec2:CreateFleet", "ec2:RunInstances"}
    assert "Condition" not in statement
    own = {
        *(f"launch-template/{{{name}}}" for name in template.of_type("AWS::EC2::LaunchTemplate")),
        *(f"subnet/{{{name}}}" for name in template.of_type("AWS::EC2::Subnet")),
        *(f"security-group/{{{name}.GroupId}}" for name in template.of_type("AWS::EC2::SecurityGroup")),
        "key-pair/*",
    }
    assert resources(statement) == {
        *(f"arn:aws:ec2:{REGION}:{ACCOUNT}:{name}" for name in own),
        f"arn:aws:ec2:{REGION}::image/*",
        f"arn:aws:ec2:{REGION}::snapshot/*",
    }
    tagged = template.statement("reconcile", "LaunchFromTagged")
    kinds = ("launch-template", "subnet", "security-group")
    assert resources(tagged) == {f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}/*" for kind in kinds}
    assert tagged["Condition"] == {"StringEquals": {f"ec2:ResourceTag/{names.TAG_STACK}": "Lowtide"}}


def test_templates_are_made_with_the_stacks_tag_and_only_those_with_it_are_deleted(template: Template) -> None:
    every = {f"arn:aws:ec2:{REGION}:{ACCOUNT}:launch-template/*"}
    making, tagging = (template.statement("reconcile", sid) for sid in ("MakeTemplates", "TagTemplates"))
    assert resources(making) == resources(tagging) == every
    assert making["Condition"] == TAGGED
    assert tagging["Condition"]["StringEquals"] == {
        **TAGGED["StringEquals"],
        "ec2:CreateAction": "CreateLaunchTemplate",
    }
    deleting = [s for _, s in template.policies() if "ec2:DeleteLaunchTemplate" in actions(s)]
    assert len(deleting) == 2
    for statement in deleting:
        assert resources(statement) == every
        assert statement["Condition"] == {"StringEquals": {f"ec2:ResourceTag/{names.TAG_STACK}": "Lowtide"}}


def test_tags_are_written_only_while_launching(template: Template) -> None:
    statement = template.statement("reconcile", "TagAtLaunch")
    assert actions(statement) == ["ec2:CreateTags"]
    assert resources(statement) == {f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}/*" for kind in MADE}
    assert statement["Condition"] == {
        "StringEquals": {**TAGGED["StringEquals"], "ec2:CreateAction": ["CreateFleet", "RunInstances"]}
    }


def test_no_launching_action_is_allowed_anywhere_else(template: Template) -> None:
    launching = {"ec2:CreateFleet", "ec2:RunInstances", "ec2:CreateTags"}
    assert {s["Sid"] for _, s in template.policies() if launching & set(actions(s))} == {
        *("MakeTagged", "LaunchFrom", "LaunchFromTagged", "TagAtLaunch", "TagTemplates"),
    }


def test_instances_get_the_stacks_role_and_those_the_owner_named_and_no_other() -> None:
    statement = synthesized(worker_roles="gpu,team/cpu").statement("reconcile", "GiveInstancesTheirRole")
    (own,) = {r for r in resources(statement) if r.startswith("{")}
    assert resources(statement) == {
        own,
        f"arn:aws:iam::{ACCOUNT}:role/gpu",
        f"arn:aws:iam::{ACCOUNT}:role/team/cpu",
    }
    assert own.startswith("{IdentityRole")
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}


def test_without_named_roles_only_the_stacks_own_is_given(template: Template) -> None:
    (role,) = resources(template.statement("reconcile", "GiveInstancesTheirRole"))
    assert role.startswith("{IdentityRole")


def test_images_are_found_in_awss_public_parameters_only(template: Template) -> None:
    parameters = resources(template.statement("reconcile", "FindImages"))
    assert parameters == {
        f"arn:aws:ssm:{REGION}::parameter/aws/service/ami-amazon-linux-latest/*",
        f"arn:aws:ssm:{REGION}::parameter/aws/service/deeplearning/ami/*",
    }


# --- the templates ---


@pytest.mark.parametrize("capacity_type", ["spot", "on-demand"])
def test_an_instance_requires_session_tokens_of_its_metadata_service(template: Template, capacity_type: str) -> None:
    assert launch_templates(template)[capacity_type]["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 2,
        "InstanceMetadataTags": "disabled",
    }


@pytest.mark.parametrize("capacity_type", ["spot", "on-demand"])
def test_an_instance_that_shuts_down_is_terminated_and_leaves_no_volume(template: Template, capacity_type: str) -> None:
    data = launch_templates(template)[capacity_type]
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    (volume,) = data["BlockDeviceMappings"]
    assert volume["DeviceName"] == "/dev/xvda"
    assert volume["Ebs"] == {
        "VolumeType": "gp3",
        "VolumeSize": 200,
        "Encrypted": True,
        "DeleteOnTermination": True,
    }


def test_all_that_ec2_makes_from_a_template_carries_the_stacks_tag(template: Template) -> None:
    tagged = {
        capacity_type: {s["ResourceType"]: s["Tags"] for s in data["TagSpecifications"]}
        for capacity_type, data in launch_templates(template).items()
    }
    always = {"instance", "volume", "network-interface"}
    assert tagged["on-demand"].keys() == always, "EC2 refuses on-demand requests that tag spot requests"
    assert tagged["spot"].keys() == always | {"spot-instances-request"}
    for tags in (*tagged["on-demand"].values(), *tagged["spot"].values()):
        assert tags == [{"Key": names.TAG_STACK, "Value": "Lowtide"}]


@pytest.mark.parametrize("capacity_type", ["spot", "on-demand"])
def test_an_instance_has_the_workers_profile_and_accepts_no_connection(template: Template, capacity_type: str) -> None:
    data = launch_templates(template)[capacity_type]
    ((profile, _),) = template.of_type("AWS::IAM::InstanceProfile").items()
    ((group, properties),) = template.of_type("AWS::EC2::SecurityGroup").items()
    assert data["IamInstanceProfile"] == {"Arn": {"Fn::GetAtt": [profile, "Arn"]}}
    assert data["SecurityGroupIds"] == [{"Fn::GetAtt": [group, "GroupId"]}]
    assert "NetworkInterfaces" not in data, "the subnet says whether there is a public address"
    assert "SecurityGroupIngress" not in properties["Properties"]
    assert [rule["IpProtocol"] for rule in properties["Properties"]["SecurityGroupEgress"]] == ["-1"]
    assert not template.of_type("AWS::EC2::SecurityGroupIngress")


@pytest.mark.parametrize("capacity_type", ["spot", "on-demand"])
def test_the_templates_version_is_a_number_of_this_template(template: Template, capacity_type: str) -> None:
    variables = template.function("reconcile")[1]["Environment"]["Variables"]
    prefix = "LOWTIDE_SPOT_LAUNCH_TEMPLATE" if capacity_type == "spot" else "LOWTIDE_LAUNCH_TEMPLATE"
    name = variables[f"{prefix}_ID"]["Ref"]
    assert variables[f"{prefix}_VERSION"] == {"Fn::GetAtt": [name, "LatestVersionNumber"]}


# --- user data ---


def user_data(template: Template) -> str:
    found = {text(data["UserData"]) for data in launch_templates(template).values()}
    (same,) = found
    return same


def test_the_first_thing_an_instance_does_is_to_set_the_timer_that_ends_it() -> None:
    script = user_data(synthesized(settings='{"boot_power_off": 90}'))
    commands = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert commands[0] == "shutdown -h +2"


def test_the_boot_script_writes_where_the_deployment_is(template: Template) -> None:
    script = user_data(template)
    written = re.search(r"cat > /etc/lowtide/worker.json <<'(\S+)'\n(.*?)\n\1\n", script, re.DOTALL)
    assert written is not None
    config = json.loads(written[2])
    assert config.keys() == {"region", "stack", "api_url", "artefact", "boot_power_off_seconds"}
    assert (config["region"], config["stack"], config["boot_power_off_seconds"]) == (REGION, "Lowtide", 1800)
    assert config["api_url"].endswith(".FunctionUrl}")
    assert re.fullmatch(r"[0-9a-f]{64}", config["artefact"]["sha256"])
    assert config["artefact"]["bucket"] == f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"
    assert re.fullmatch(r"[0-9a-f]{64}\.zip", config["artefact"]["key"])


def test_the_boot_script_ends_in_running_the_boot_program_as_it_is_in_the_source(template: Template) -> None:
    script = user_data(template)
    assert (ROOT / "worker" / "boot.py").read_text().rstrip() in script
    assert script.rstrip().endswith("exec python3 /opt/lowtide/boot.py /etc/lowtide/worker.json")


def test_the_boot_script_fits_what_ec2_takes_with_room_for_its_addresses(template: Template) -> None:
    assert len(user_data(template).encode()) <= USER_DATA_BYTES - 512


def test_a_boot_program_too_large_for_ec2_fails_the_synthesis() -> None:
    with pytest.raises(ValueError, match="EC2 takes 16384"):
        boot_script({}, "#" * USER_DATA_BYTES, 60)


# --- what an instance may do ---


def test_an_instance_may_call_the_worker_api_and_fetch_the_worker_and_nothing_else(
    template: Template,
) -> None:
    ((role, _),) = (
        (n, r)
        for n, r in template.of_type("AWS::IAM::Role").items()
        if "ec2.amazonaws.com" in json.dumps(r["Properties"]["AssumeRolePolicyDocument"])
    )
    api = f"{{{template.function('worker_api')[0]}.Arn}}"
    may = {
        (tuple(actions(s)), tuple(sorted(resources(s)))): s.get("Condition") for s in template.statements_of_role(role)
    }
    (artefact,) = (places[0] for (done, places) in may if done == ("s3:GetObject",) and "assets" in places[0])
    assert re.fullmatch(rf"arn:aws:s3:::cdk-hnb659fds-assets-{ACCOUNT}-{REGION}/[0-9a-f]{{64}}\.zip", artefact)
    assert may == {
        (("lambda:InvokeFunctionUrl",), (api,)): {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}},
        (("lambda:InvokeFunction",), (api,)): {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}},
        (("s3:GetObject",), (artefact,)): None,
    }
    assert "ManagedPolicyArns" not in template.resources[role]["Properties"]


def test_the_worker_api_takes_signed_requests_only(template: Template) -> None:
    (url,) = template.properties("AWS::Lambda::Url")
    assert url["AuthType"] == "AWS_IAM"
    permissions = template.properties("AWS::Lambda::Permission")
    assert {permission["Principal"] for permission in permissions} == {"events.amazonaws.com"}


def test_the_worker_api_knows_whose_sessions_to_believe() -> None:
    template = synthesized(worker_roles="gpu,team/cpu")
    roles = json.loads(text(template.function("worker_api")[1]["Environment"]["Variables"][names.ENV_WORKER_ROLES]))
    assert roles[0].startswith("{IdentityRole")
    assert roles[1:] == ["gpu", "cpu"]


# --- what the worker API lends ---


def data_role(template: Template) -> str:
    return template.function("worker_api")[1]["Environment"]["Variables"][names.ENV_DATA_ROLE]["Fn::GetAtt"][0]


def test_only_the_worker_api_may_take_and_tag_the_data_role(template: Template) -> None:
    role = data_role(template)
    (trust,) = template.resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    api = template.function("worker_api")[1]["Role"]["Fn::GetAtt"][0]
    assert text(trust["Principal"]["AWS"]) == f"{{{api}.Arn}}"
    assert set(actions(trust)) == {"sts:AssumeRole", "sts:TagSession"}
    assert resources(template.statement("worker_api", "LendDataRole")) == {f"{{{role}.Arn}}"}
    assert {h for h in HANDLERS if "sts:AssumeRole" in allowed(template, h)} == {"worker_api"}


JOBS = "arn:aws:iam::111122223333:role/team/training"


def test_the_worker_api_may_take_the_roles_named_for_jobs_and_no_other(template: Template) -> None:
    named = synthesized(job_roles=f"{JOBS},{JOBS}-2")
    statement = named.statement("worker_api", "LendJobRoles")
    assert set(actions(statement)) == {"sts:AssumeRole", "sts:TagSession"}
    assert resources(statement) == {JOBS, f"{JOBS}-2"}
    variables = named.function("worker_api")[1]["Environment"]["Variables"]
    assert json.loads(variables[names.ENV_JOB_ROLES]) == [JOBS, f"{JOBS}-2"]
    assert named.content["Outputs"][names.OUTPUT_JOB_ROLES]["Value"] == f"{JOBS},{JOBS}-2"
    assert {h for h in HANDLERS if JOBS in str(named.statements(h))} == {"worker_api"}


def test_without_roles_for_jobs_it_may_take_none(template: Template) -> None:
    assert "LendJobRoles" not in {s.get("Sid") for s in template.statements("worker_api")}
    assert template.content["Outputs"][names.OUTPUT_JOB_ROLES]["Value"] == "none"
    assert template.function("worker_api")[1]["Environment"]["Variables"][names.ENV_JOB_ROLES] == "[]"


def test_the_stack_says_whom_a_jobs_role_has_to_trust(template: Template) -> None:
    api = template.function("worker_api")[1]["Role"]["Fn::GetAtt"][0]
    assert text(template.content["Outputs"][names.OUTPUT_JOB_ROLE_PRINCIPAL_ARN]["Value"]) == f"{{{api}.Arn}}"


def test_a_session_of_the_data_role_reaches_its_own_pools_checkpoints_and_streams_and_every_input(
    template: Template,
) -> None:
    (bucket,) = template.of_type("AWS::S3::Bucket")
    (group,) = (name for name in template.of_type("AWS::Logs::LogGroup") if name.startswith("WorkerLogs"))
    pool = "${aws:PrincipalTag/pool}"
    found = {
        s["Sid"]: (set(actions(s)), resources(s), s.get("Condition"))
        for s in template.statements_of_role(data_role(template))
    }
    assert found == {
        "FetchInputs": ({"s3:GetObject"}, {f"{{{bucket}.Arn}}/inputs/*"}, None),
        "KeepCheckpoints": (
            {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"},
            {f"{{{bucket}.Arn}}/checkpoints/{pool}/*"},
            None,
        ),
        "ListCheckpoints": (
            {"s3:ListBucket"},
            {f"{{{bucket}.Arn}}"},
            {"StringLike": {"s3:prefix": [f"checkpoints/{pool}/*"]}},
        ),
        "OpenLog": ({"logs:CreateLogStream"}, {f"{{{group}.Arn}}"}, None),
        "WriteLog": (
            {"logs:PutLogEvents"},
            {f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{{group}}}:log-stream:{pool}/*"},
            None,
        ),
    }
