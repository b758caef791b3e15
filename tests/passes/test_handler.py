import json

from lambdas import names
from lambdas.adapters.ec2 import LaunchTemplate
from lambdas.domain.pools.pools import CapacityType
from lambdas.handlers.environment import Environment
from lambdas.handlers.reconcile import deployment_of

VARIABLES = {
    names.ENV_STACK: "Other",
    names.ENV_SETTINGS: json.dumps({"look_again": 5}),
    names.ENV_SUBNETS: json.dumps({"us-west-2b": "subnet-b", "us-west-2a": "subnet-a"}),
    names.ENV_LAUNCH_TEMPLATE: "lt-on-demand",
    names.ENV_LAUNCH_TEMPLATE_VERSION: "4",
    names.ENV_SPOT_LAUNCH_TEMPLATE: "lt-spot",
    names.ENV_SPOT_LAUNCH_TEMPLATE_VERSION: "7",
}


def test_the_functions_environment_says_what_to_launch_from_and_where() -> None:
    deployment = deployment_of(Environment(VARIABLES))
    assert deployment.stack == "Other"
    assert deployment.settings.look_again.total_seconds() == 5
    assert deployment.subnets == (("us-west-2a", "subnet-a"), ("us-west-2b", "subnet-b"))
    assert deployment.templates == {
        CapacityType.SPOT: LaunchTemplate(template_id="lt-spot", version="7"),
        CapacityType.ON_DEMAND: LaunchTemplate(template_id="lt-on-demand", version="4"),
    }
