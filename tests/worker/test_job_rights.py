"""What a job gets of its pool's role: credentials that a real SDK finds, and secrets read by them alone."""

import json
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.worker.bench import KEYS, STREAM, Bench
from tests.worker.control import JOB_KEYS, Control
from tests.worker.test_containers import Engines
from worker.api import Api
from worker.data import Lent
from worker.job_rights import JobRights
from worker.leases import Key, NeverStarted, Stop
from worker.loopback import Loopback

SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf"
PARAMETER = "arn:aws:ssm:eu-west-1:123456789012:parameter/team/token"
ASK_AS_BOTO = f"""{sys.executable} -c '
import botocore.session
found = botocore.session.get_session().get_credentials().get_frozen_credentials()
print(found.access_key, found.secret_key, found.token)' > seen"""


def api(control: Control) -> Api:
    return Api(control.url, "us-west-2", credentials=lambda: KEYS, forget_credentials=lambda: None)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def bench(tmp_path: Path, control: Control, waits: list[float]) -> Iterator[Bench]:
    made = Bench(tmp_path / "state")
    made.runner.rights = JobRights(api(control), region="us-west-2", now=lambda: datetime.now(UTC), sleep=waits.append)
    yield made
    made.runner.clear_leftovers()


# --- credentials ------------------------------------------------------------------------------------------------------


def test_a_job_of_a_pool_without_a_role_has_nothing_of_aws_and_nobody_is_asked(bench: Bench, control: Control) -> None:
    bench.run("env > seen")
    assert "AWS" not in bench.file("work/seen")
    assert not control.calls


def test_an_sdk_in_the_job_finds_the_credentials_of_the_pools_role(bench: Bench, control: Control) -> None:
    found = bench.run(ASK_AS_BOTO, job_role=True)
    assert found.exit_code == 0, found.error
    assert bench.file("work/seen") == "ASIAJOB job-secret job-token\n"
    assert control.calls["/v1/job-credentials"] == [{"job_id": "job-1", "fence": 1}]


def test_so_does_one_in_a_container(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = Engines(tmp_path / "bin")
    engines.install()
    monkeypatch.setenv("PATH", f"{engines.place}:/usr/bin:/bin")
    found = bench.run(ASK_AS_BOTO, job_role=True, image="train:1")
    assert found.exit_code == 0, found.error
    assert bench.file("work/seen") == "ASIAJOB job-secret job-token\n"


def test_the_region_is_the_stacks_unless_the_job_says_another(bench: Bench) -> None:
    bench.run("echo $AWS_REGION $AWS_DEFAULT_REGION > seen", job_role=True, env={"AWS_REGION": "sa-east-1"})
    assert bench.file("work/seen") == "sa-east-1 us-west-2\n"


def test_an_attempt_that_ended_leaves_no_credentials_to_be_asked_for(bench: Bench) -> None:
    bench.run("echo $AWS_CONTAINER_CREDENTIALS_FULL_URI $AWS_CONTAINER_AUTHORIZATION_TOKEN > seen", job_role=True)
    address, token = bench.file("work/seen").split()
    with pytest.raises(HTTPError, match="404"):
        urllib.request.urlopen(urllib.request.Request(address, headers={"Authorization": token}), timeout=10)


def test_a_role_that_cannot_be_had_is_the_attempts_failure_with_the_remedy(bench: Bench, control: Control) -> None:
    control.job_credentials = (403, {"error": "no-job-role", "remedy": "deploy it with -c job_roles=ARN"})
    found = bench.run("touch ran", job_role=True)
    assert (found.exit_code, found.error) == (None, "the job's role: deploy it with -c job_roles=ARN")
    assert not list(bench.state.rglob("ran"))


@pytest.mark.parametrize("status", [503, 429, 403, 409])
def test_an_api_that_does_not_answer_fails_no_job(
    bench: Bench, control: Control, status: int, waits: list[float]
) -> None:
    control.job_credentials = (status, {"error": "unavailable", "remedy": "ask again"})
    assert isinstance(bench.run("true", job_role=True), NeverStarted)
    assert (len(control.calls["/v1/job-credentials"]), sum(waits)) == (6, 31.0)


def test_a_stop_ends_the_asking(bench: Bench, control: Control) -> None:
    control.job_credentials = (503, {})
    bench.runner.rights = JobRights(api(control), region="us-west-2", now=lambda: datetime.now(UTC))
    attempt = bench.start("true", job_role=True)
    control.wait("/v1/job-credentials")
    attempt.stop(Stop.INTERRUPTED)
    assert bench.outcome(attempt) == NeverStarted("stopped before it started")


class Lender:
    def __init__(self) -> None:
        self.calls = 0

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        return JOB_KEYS


def test_only_who_knows_a_token_gets_the_credentials_of_its_job() -> None:
    loopback, lenders = Loopback(), [Lender(), Lender()]
    lent = [Lent(one, "/v1/job-credentials", {}, lambda: datetime.now(UTC)) for one in lenders]
    told = [loopback.admit(one)["AWS_CONTAINER_AUTHORIZATION_TOKEN"] for one in lent]
    assert loopback.answer("/credentials", told[0])[1] == {
        **{"AccessKeyId": "ASIAJOB", "SecretAccessKey": "job-secret", "Token": "job-token"},
        "Expiration": JOB_KEYS["expires_at"],
    }
    assert [one.calls for one in lenders] == [1, 0]
    assert [loopback.answer("/credentials", token)[0] for token in ("", "guess")] == [404, 404]
    assert loopback.answer("/other", told[0])[0] == 404


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_secrets_are_in_the_jobs_environment(bench: Bench, control: Control) -> None:
    control.values[SECRET] = [(200, {"SecretString": "pass\nword"})]
    control.values[PARAMETER] = [(200, {"Parameter": {"Value": "t0ken"}})]
    found = bench.run(
        'printf "%s|%s" "$PASSWORD" "$TOKEN" > seen', job_role=True, secrets={"PASSWORD": SECRET, "TOKEN": PARAMETER}
    )
    assert found.exit_code == 0, found.error
    assert bench.file("work/seen") == "pass\nword|t0ken"
    assert control.calls["GetParameter"] == [{"Name": PARAMETER, "WithDecryption": True}]


def test_secrets_are_read_with_the_jobs_role_in_their_own_region(bench: Bench, control: Control) -> None:
    control.values[SECRET] = [(200, {"SecretString": "x"})]
    bench.run("true", job_role=True, secrets={"PASSWORD": SECRET})
    (asked,) = (given for given in control.headers if "secretsmanager" in given.get("x-amz-target", ""))
    assert "Credential=ASIAJOB/" in asked["authorization"]
    assert "/eu-west-1/secretsmanager/" in asked["authorization"]
    assert "x-amz-target" in asked["authorization"], "AWS wants every x-amz- header signed"
    assert asked["x-amz-security-token"] == "job-token"


def test_a_secrets_value_is_nowhere_but_in_the_jobs_environment(
    bench: Bench, control: Control, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    bench.runner.log = lambda event, **fields: said.append(f"{event} {fields}")
    control.values[SECRET] = [(200, {"SecretString": "hunter2-hunter2"})]
    found = bench.run("exit 3", job_role=True, secrets={"PASSWORD": SECRET})
    held = [file for file in bench.state.rglob("*") if file.is_file() and b"hunter2" in file.read_bytes()]
    told = [*said, json.dumps(found.body(Key("job-1", 1))), bench.logs.text(STREAM), *capfd.readouterr()]
    assert (held, [text for text in told if "hunter2" in text]) == ([], [])


@pytest.mark.parametrize(
    ("arn", "code", "right"),
    [
        (SECRET, "AccessDeniedException", "secretsmanager:GetSecretValue"),
        (SECRET, "ResourceNotFoundException", "secretsmanager:GetSecretValue"),
        (PARAMETER, "ParameterNotFound", "ssm:GetParameter"),
    ],
)
def test_a_secret_that_the_role_may_not_read_or_that_is_not_there_fails_the_attempt_by_its_name(
    bench: Bench, control: Control, arn: str, code: str, right: str
) -> None:
    control.values[arn] = [(400, {"__type": code, "message": "no"})]
    found = bench.run("touch ran", job_role=True, secrets={"PASSWORD": arn})
    assert found.exit_code is None
    assert found.error.startswith(f"secret PASSWORD: {arn}: {code}: ")
    assert right in found.error
    assert not list(bench.state.rglob("ran"))


@pytest.mark.parametrize(
    "refusal", [(400, {"__type": "ThrottlingException"}), (500, {}), (400, {"__type": "ExpiredTokenException"})]
)
def test_what_may_pass_is_asked_again(bench: Bench, control: Control, refusal: tuple[int, dict[str, Any]]) -> None:
    control.values[SECRET] = [refusal, (200, {"SecretString": "x"})]
    assert bench.run('test "$PASSWORD" = x', job_role=True, secrets={"PASSWORD": SECRET}).exit_code == 0


def test_what_does_not_pass_gives_the_job_back(bench: Bench, control: Control) -> None:
    control.values[SECRET] = [(503, {})]
    given_back = bench.run("true", job_role=True, secrets={"PASSWORD": SECRET})
    assert isinstance(given_back, NeverStarted)
    assert SECRET in given_back.reason


@pytest.mark.parametrize(
    "answer", [{"SecretBinary": "AAEC"}, {"SecretString": "hunter2\0b"}, {"SecretString": "hunter2\ud800"}]
)
def test_what_no_variable_can_hold_fails_the_attempt(bench: Bench, control: Control, answer: dict[str, Any]) -> None:
    control.values[SECRET] = [(200, answer)]
    found = bench.run("true", job_role=True, secrets={"PASSWORD": SECRET})
    assert "is no text that a variable can hold" in found.error
    assert "hunter2" not in found.error


def test_secrets_in_a_pool_that_lost_its_role_fail_the_attempt(bench: Bench, control: Control) -> None:
    found = bench.run("true", secrets={"PASSWORD": SECRET})
    assert found.error.startswith("secret PASSWORD cannot be read: the pool has no job_role_arn")
    assert not control.calls
