"""A backtest's document as one HTML page of the same kind as `lowtide report`: no network, no file beside it."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from lambdas.domain.instants import to_text
from lowtide.backtest.charts import charts, kind
from lowtide.backtest.table import rows
from lowtide.report.page import asset, environment, policy


def page(document: Mapping[str, Any]) -> str:
    """`document` as outcome.document gives it."""
    style = asset("page.css") + (files("lowtide.backtest") / "page.css").read_text(encoding="utf-8")
    script = asset("page.js")
    return (
        environment("lowtide.backtest")
        .get_template("page.html.j2")
        .render(
            found=document,
            begin=to_text(document["begin"]),
            end=to_text(max(each["ended_at"] for each in document["scenarios"])),
            style=style,
            script=script,
            policy=policy(style, script),
            names=[each["name"] for each in document["scenarios"]],
            rows=rows(document),
            charts=charts(document),
            kinds=[kind(number) for number in range(len(document["scenarios"]))],
        )
        .lstrip()
    )
