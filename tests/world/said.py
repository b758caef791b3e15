"""What `lowtide why` printed, beside what the runbook shows of it: everything of the first reason but what each run has
of its own, which is numbers, identifiers and times."""

import re

_SHOWN = re.compile(r"^```text why (\S+)\n(.*?)^```", re.M | re.S)
_OWN = re.compile(r"\b(?:[a-z]+-)?[0-9a-f]{8,}\b|\$?\d[\d.:]*[smhd]?\b")


def written(document: str) -> dict[str, str]:
    """The examples in a document by the name after `why`."""
    return dict(_SHOWN.findall(document))


def essence(text: str) -> list[str]:
    """The headline's class, and the first reason's title, message, remedy, edit and command."""
    lines = text.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("1. "))
    end = next((number for number in range(begin, len(lines)) if not lines[number].strip()), len(lines))
    told = [line for line in lines[begin:end] if not line.startswith("   for ")]
    return [_OWN.sub("…", line) for line in told if "console of" not in line]
