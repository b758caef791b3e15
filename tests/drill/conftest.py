from tests.cli.conftest import deployed

__all__ = ["deployed"]
