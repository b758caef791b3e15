"""Functions run as on Lambda: by its runtime client, in its environment, with its errors."""

from lowtide.local.world import World
from tests.local.conftest import function, invoke

PROBE = """
import importlib.util, os
def handler(event, context):
    return {"variables": dict(os.environ), "found": [n for n in event["names"] if importlib.util.find_spec(n)]}
"""


def test_only_the_zip_and_the_runtime_itself_can_be_imported(world: World) -> None:
    names = ["app", "boto3", "moto", "ministack", "yaml", "lowtide", "lambdas"]
    assert invoke(world, function(world, PROBE), {"names": names})["found"] == ["app", "boto3"]


def test_nothing_of_the_hosts_environment_reaches_a_function(world: World) -> None:
    name = function(world, PROBE, Environment={"Variables": {"MINE": "1"}})
    variables = invoke(world, name, {"names": []})["variables"]
    assert variables["MINE"] == "1"
    assert variables["AWS_ENDPOINT_URL"] == world.endpoint
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == name
    assert variables["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.13"
    assert not {"HOME", "VIRTUAL_ENV", "GATEWAY_PORT", "AUTH"} & set(variables)


def test_an_error_has_its_own_type_and_trace(world: World) -> None:
    error = invoke(world, function(world, "def handler(event, context):\n    return event['x']\n"))
    assert error["errorType"] == "KeyError"
    assert "return event['x']" in error["stackTrace"][0]


def test_a_function_that_cannot_be_imported_says_what_is_missing(world: World) -> None:
    error = invoke(world, function(world, "import moto\n"))
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "No module named 'moto'" in error["errorMessage"]


def test_every_line_of_an_invocation_is_in_its_own_log(world: World) -> None:
    name = function(world, "def handler(event, context):\n    print(f'line {event[\"n\"]}\\n' * 500)\n")
    for n in range(3):
        invoke(world, name, {"n": n})
    logs = world.client("logs")
    streams = logs.describe_log_streams(logGroupName=f"/aws/lambda/{name}")["logStreams"]
    texts = [
        [
            event["message"]
            for event in logs.get_log_events(
                logGroupName=f"/aws/lambda/{name}", logStreamName=stream["logStreamName"], limit=10000
            )["events"]
        ]
        for stream in streams
    ]
    counts = sorted(tuple(sum(f"line {n}" == line for line in text) for n in range(3)) for text in texts)
    assert counts == [(0, 0, 500), (0, 500, 0), (500, 0, 0)]


def test_a_function_whose_process_ends_says_so_and_runs_again_the_next_time(world: World) -> None:
    name = function(world, "import os\ndef handler(event, context):\n    return os._exit(3) if event else 1\n")
    assert invoke(world, name, {"die": True})["errorType"] == "Runtime.ExitError"
    assert invoke(world, name) == 1
