import pytest

from lowtide.backtest.outcome import Scenario, document
from lowtide.backtest.page import page
from lowtide.backtest.play import Assumptions
from tests.backtest.build import BEGIN, ZONES, job, market, play
from tests.cli.deployment import Deployed


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Deployed:
    return Deployed(monkeypatch, capsys)


@pytest.fixture(scope="package")
def html() -> str:
    """The page of two scenarios, whose names would be markup."""
    conditions = market(held={zone: [(0, 2), (50, 0), (80, 2)] for zone in ZONES})
    jobs = [job(n, minute=20 * n) for n in range(4)]
    scenarios = [
        Scenario(name="a <b>&", rule="lowtide", played=[play(jobs, conditions=conditions)]),
        Scenario(name="peer", rule="determined", played=[play(jobs, conditions=conditions, rule="determined")]),
    ]
    found = document(
        scenarios,
        market="<script>x</script>",
        jobs="4 jobs",
        region="us-east-1",
        begin=BEGIN,
        until=scenarios[0].played[0].end,
        assumptions=Assumptions(),
        notes=("a note",),
    )
    return page(found)
