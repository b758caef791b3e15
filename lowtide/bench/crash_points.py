"""How many crash points the tests enumerate: each is one AWS call of one function, before or after its effect."""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from lowtide.bench.results import ROOT, Result

TESTS = ROOT / "tests" / "crash"
PROPERTY = "crash points"
"""What each of those tests notes of itself: the number of its points."""


def crash_points() -> Result:
    with tempfile.TemporaryDirectory(prefix="lowtide-bench-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", str(TESTS)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not report.exists():
            raise RuntimeError(f"the crash tests could not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        points = _points(ElementTree.parse(report))
    if not points:
        raise RuntimeError(f"the crash tests noted no points: {done.stdout[-2000:]}")
    verdict = "No law was broken at any of them." if done.returncode == 0 else "The tests FAILED: see make test."
    return Result(
        name="crash_points",
        title="Crash points",
        about="Each function is killed before and after the effect of every AWS call that it makes in every scenario; "
        f"then messages are delivered again, ticks go on, and the laws are checked. {verdict}",
        columns=("scenario", "points"),
        rows=(*((name, str(count)) for name, count in sorted(points.items())), ("all", str(points.total()))),
    )


def _points(report: "ElementTree.ElementTree[ElementTree.Element]") -> Counter[str]:
    """By scenario: a test's parameters without the number of its part."""
    points: Counter[str] = Counter()
    for case in report.iter("testcase"):
        parameters = case.get("name", "").partition("[")[2].rstrip("]")
        scenario = re.sub(r"^\d+-|-\d+$", "", parameters)
        for told in case.iter("property"):
            if told.get("name") == PROPERTY:
                points[scenario] += int(told.get("value", "0"))
    return points
