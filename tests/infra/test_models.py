"""What the bundle tells botocore of AWS is enough for every call of a function, and says the same as the whole."""

import ast
import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

import lambdas
from infra.models import OPERATIONS, described, write_models
from lambdas.adapters import sdk
from lambdas.handlers import environment

SOURCES = sorted(Path(lambdas.__file__).parent.rglob("*.py"))
REGIONS = ("us-east-1", "eu-central-1", "ap-south-2", "us-gov-west-1", "cn-north-1", "xx-new-1")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bundle") / "models"
    write_models(place)
    return place


def words_of(source: Path) -> set[str]:
    """Every attribute and every text: what an operation's name can stand in."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return attributes | {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def every_operation(service: str) -> set[str]:
    return set(botocore.session.get_session().get_service_model(service).operation_names)


@pytest.mark.parametrize("service", sorted(OPERATIONS))
def test_every_operation_that_a_function_names_is_described(service: str) -> None:
    words = {word for source in SOURCES for word in words_of(source)}
    named = {name for name in every_operation(service) if xform_name(name) in words}
    missing = named - set(OPERATIONS[service])
    assert {name for name in missing if calls(service, name)} == set()
    assert set(OPERATIONS[service]) <= named, "nobody calls these any more"


def calls(service: str, operation: str) -> bool:
    """Whether it is called of a client of this service: `.operation(` in an adapter that names the service's types."""
    call = re.compile(rf"\.{xform_name(operation)}\(|\"{xform_name(operation)}\"")
    kind = {"ec2": "EC2", "dynamodb": "DynamoDB", "sqs": "SQS", "sns": "SNS", "s3": "S3", "ssm": "SSM", "sts": "STS"}
    told = f"mypy_boto3_{service}", f"{kind.get(service, service)}Client"
    texts = (source.read_text(encoding="utf-8") for source in SOURCES if source.parent.name == "adapters")
    return any(call.search(text) and any(each in text for each in told) for text in texts)


def test_every_client_of_a_function_is_of_a_described_service() -> None:
    made = set(re.findall(r"sdk\.client\(\"([a-z0-9-]+)\"", Path(environment.__file__).read_text(encoding="utf-8")))
    assert made == OPERATIONS.keys()


def client(service: str, region: str, loader: Any = None) -> Any:
    session = botocore.session.Session()
    if loader is not None:
        session.register_component("data_loader", loader)
    return session.create_client(service, region_name=region, aws_access_key_id="a", aws_secret_access_key="b")


def settings_of(made: Any) -> set[str]:
    """Names of the client's own settings that endpoints depend on, as S3 reads them with every call."""
    return {each.name for each in made.meta.service_model.client_context_parameters}


@pytest.mark.parametrize("service", sorted(OPERATIONS))
def test_clients_of_the_bundle_go_where_botocores_own_go(
    models: Path, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk, "MODELS", models)
    for region in REGIONS:
        ours = client(service, region, sdk._Models(extra_search_paths=[str(models)]))
        stock = client(service, region)
        assert ours.meta.endpoint_url == stock.meta.endpoint_url, region
        assert ours.meta.config.signature_version == stock.meta.config.signature_version, region
        assert set(ours.meta.method_to_api_mapping.values()) == set(OPERATIONS[service])
        assert settings_of(ours) == settings_of(stock)


@pytest.mark.parametrize(
    ("service", "operation"), [(service, name) for service, names in OPERATIONS.items() for name in names]
)
def test_what_a_call_takes_and_answers_is_described_as_in_the_whole(
    models: Path, service: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk, "MODELS", models)
    ours = client(service, "us-east-1", sdk._Models(extra_search_paths=[str(models)])).meta.service_model
    stock = botocore.session.get_session().get_service_model(service)
    for side in ("input_shape", "output_shape"):
        assert shape(getattr(ours.operation_model(operation), side)) == shape(
            getattr(stock.operation_model(operation), side)
        )


def shape(of: Any, seen: tuple[str, ...] = ()) -> Any:
    """A shape with all that is in it, without text."""
    if of is None or of.name in seen:
        return of and of.name
    deeper = (*seen, of.name)
    match of.type_name:
        case "structure":
            inside = {name: shape(member, deeper) for name, member in of.members.items()}
            return of.name, of.serialization, list(of.required_members), inside
        case "list":
            return of.name, of.serialization, shape(of.member, deeper)
        case "map":
            return of.name, of.serialization, shape(of.key, deeper), shape(of.value, deeper)
        case simple:
            return of.name, of.serialization, simple


def test_another_version_of_botocore_is_another_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    before = described()
    monkeypatch.setattr("botocore.__version__", "0.0.1")
    assert described() != before


def test_without_a_bundle_botocore_knows_every_service_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "MODELS", tmp_path / "none")
    assert "lambda" in sdk._Models(extra_search_paths=[str(tmp_path / "none")]).list_available_services("service-2")
