import pytest

from tests.infra.template import Template, synthesized


@pytest.fixture(scope="session")
def template() -> Template:
    """The stack as `cdk deploy` without options makes it."""
    return synthesized()
