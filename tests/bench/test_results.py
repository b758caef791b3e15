"""What benchmarks find is kept and told as it was measured. The benchmarks themselves are no tests."""

from pathlib import Path

import pytest

from lowtide.bench import results
from lowtide.bench.__main__ import main, report
from lowtide.bench.results import Result, kept, middle_and_tail


def result(name: str) -> Result:
    return Result(
        name=name, title=f"About {name}", about="Two things.", columns=("what", "ms"), rows=(("a", "1"), ("b", "2"))
    )


def test_a_result_reads_back_as_it_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "PLACE", tmp_path / "bench")
    found = [result("calls"), result("latency")]
    for each in found:
        each.keep()
    assert kept() == found


def test_the_report_has_every_figure_in_a_table_of_its_own() -> None:
    text = report([result("calls"), result("latency")])
    assert "## About calls\n\n| what | ms |\n| --- | ---: |\n| a | 1 |\n| b | 2 |\n\nTwo things.\n" in text
    assert "## About latency" in text


def test_the_document_is_what_the_kept_figures_say() -> None:
    assert (results.ROOT / "docs" / "performance.md").read_text(encoding="utf-8") == report(kept())


def test_the_tail_is_the_95th_percentile() -> None:
    assert middle_and_tail([float(n) for n in range(101)]) == (50.0, 95.0)


def test_a_benchmark_that_there_is_not_is_told() -> None:
    with pytest.raises(SystemExit, match="speed is no benchmark; there are"):
        main(["speed"])
