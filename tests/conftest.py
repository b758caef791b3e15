"""What the whole suite says of itself at its end."""

from collections import Counter
from typing import Any

FIGURES = ("crash points",)
"""Names of user properties that tests give numbers; their sums are printed."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    sums = Counter[str]()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            sums.update({name: value for name, value in report.user_properties if name in FIGURES})
    for name, value in sums.items():
        terminalreporter.write_line(f"{name} enumerated: {value}")
