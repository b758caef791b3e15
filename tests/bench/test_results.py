"""What benchmarks find is kept and told as it was measured. The benchmarks themselves are no tests."""

from pathlib import Path

import pytest

from lowtide.bench import results
from lowtide.bench.__main__ import main, report
from lowtide.bench.aims import AIMS, judged
from lowtide.bench.results import Result, kept, middle_and_tail


def result(name: str) -> Result:
    return Result(
        name=name, title=f"About {name}", about="Two things.", columns=("what", "ms"), rows=(("a", "1"), ("b", "2"))
    )


def test_a_result_reads_back_as_it_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "PLACE", tmp_path / "bench")
    found = [result("calls"), result("imports")]
    for each in found:
        each.keep()
    assert kept() == found


def test_the_report_has_every_figure_in_a_table_of_its_own() -> None:
    text = report([result("calls"), result("imports")])
    assert "## About calls\n\n| what | ms |\n| --- | ---: |\n| a | 1 |\n| b | 2 |\n\nTwo things.\n" in text
    assert "## About imports" in text


def test_the_document_is_what_the_kept_figures_say() -> None:
    assert (results.ROOT / "docs" / "performance.md").read_text(encoding="utf-8") == report(kept())


def test_the_tail_is_the_95th_percentile() -> None:
    assert middle_and_tail([float(n) for n in range(101)]) == (50.0, 95.0)


def test_a_benchmark_that_there_is_not_is_told() -> None:
    with pytest.raises(SystemExit, match="speed is no benchmark; there are"):
        main(["speed"])


# --- aims ---


def aims_of(**figures: str) -> dict[str, tuple[str, bool]]:
    latency = Result(
        name="latency",
        title="",
        about="",
        columns=("what", "median / floor"),
        rows=tuple((what, figure) for what, figure in figures.items()),
    )
    return {aim.text: (reached.figure, reached.met) for aim, reached in judged([latency])}


LATENCY = ("SendMessage to CreateFleet", "the same behind 1,000 messages", "SendMessage to the job's start")


def test_an_aim_is_judged_by_the_kept_figure() -> None:
    found = aims_of(**dict(zip(LATENCY, ("1.50", "1.51", "1,404.00"), strict=True)))
    assert list(found.values()) == [("1.5", True), ("1.51", False), ("1,404", False)]


def test_every_aim_can_be_judged_by_what_is_kept() -> None:
    assert [aim for aim, _ in judged(kept())] == list(AIMS)


def test_the_report_says_which_aims_are_missed() -> None:
    rows = tuple((what, "2") for what in LATENCY)
    latency = Result(name="latency", title="Late", about="", columns=("what", "median / floor"), rows=rows)
    assert "| From SendMessage to CreateFleet at most 1.5 times the floor | 2 | **no** |" in report([latency])
