"""python -m lowtide.bench [functions] [decisions] [money] [scale] [packing] [checkpoints] [peers] [calls] [intake]
                         [flood] [latency] [claims] [report]

Without a name, all of them; one whose recorded data is not there is left out with a word, and its last figures stay.
Each benchmark keeps its figures in docs/performance/*.json; `report` makes docs/performance.md of what is kept there.
"""

import sys
from collections.abc import Callable, Mapping

from rich.console import Console

from lowtide.bench import (
    calls,
    checkpoints,
    claims,
    decisions,
    flood,
    functions,
    intake,
    latency,
    money,
    packing,
    peers,
    scale,
)
from lowtide.bench.aims import judged
from lowtide.bench.results import ROOT, Absent, Result, kept, measured
from lowtide.bench.stage import Stage

SEED = 1
REPORT = ROOT / "docs" / "performance.md"
ON_STAGE: Mapping[str, Callable[[Stage], Result | tuple[Result, ...]]] = {
    "functions": functions.functions,
    "calls": calls.calls,
    "intake": intake.intake,
    "latency": latency.latency,
}
"""Each in a local AWS of its own: what one leaves behind (jobs, instances) would be in the next one's figures."""
ALONE: Mapping[str, Callable[[], Result | tuple[Result, ...]]] = {
    "decisions": decisions.decisions,
    "money": money.money,
    "scale": scale.scale,
    "packing": packing.packing,
    "checkpoints": checkpoints.checkpoints,
    "claims": claims.claims,
    "flood": flood.flood,
    "peers": peers.peers,
}


def main(wanted: list[str]) -> None:
    known = [*ON_STAGE, *ALONE, "report"]
    if unknown := set(wanted) - set(known):
        sys.exit(f"{', '.join(sorted(unknown))} is no benchmark; there are {', '.join(known)}.")
    chosen, console = wanted or known, Console(highlight=False)
    for name in filter(chosen.__contains__, ALONE):
        try:
            _keep(ALONE[name](), console)
        except Absent as absent:
            if wanted:
                sys.exit(f"{name}: {absent}.")
            console.print(f"{name} is left out: {absent}.")
    for name in filter(chosen.__contains__, ON_STAGE):
        console.print(f"{name}: deploying Lowtide into a calm local AWS…")
        with Stage(seed=SEED) as stage:
            _keep(ON_STAGE[name](stage), console)
    if "report" in chosen:
        REPORT.write_text(report(kept()), encoding="utf-8")
        console.print(f"{REPORT.relative_to(ROOT)} is made anew.")


def _keep(found: Result | tuple[Result, ...], console: Console) -> None:
    for result in (found,) if isinstance(found, Result) else found:
        result.keep()
        result.show(console)


def report(results: list[Result]) -> str:
    """The text of docs/performance.md."""
    head = (
        "# Performance\n\nMade by `make bench` of the figures in [performance](performance/); do not edit. They are of "
        "the local AWS and of the simulated control plane,\nand say what costs what beside what, not how fast AWS is: "
        "ratios travel between machines, times do not.\n"
    )
    sections = (text for each in results for text in (each.markdown(), measured(each)))
    return "\n".join([head, *_aims(results), *sections])


def _aims(results: list[Result]) -> list[str]:
    found = judged(results)
    if not found:
        return []
    rows = [f"| {aim.text} | {reached.figure} | {'yes' if reached.met else '**no**'} |" for aim, reached in found]
    told = (
        "Of each aim the least and the greatest figure that it is judged by, from the tables below; they say why where "
        "one is missed.\n"
    )
    return ["## Aims", "", "| aim | reached | met |", "| --- | --- | --- |", *rows, "", told]


if __name__ == "__main__":
    main(sys.argv[1:])
