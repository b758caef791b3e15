"""What the documents say is made is what is made."""

import json
import re
from typing import Any

from lambdas import names
from tests.infra.template import ROOT, Template, text

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
MADE = {
    "Lambda functions": "AWS::Lambda::Function",
    "DynamoDB table": "AWS::DynamoDB::GlobalTable",
    "bucket": "AWS::S3::Bucket",
    "queues": "AWS::SQS::Queue",
    "launch templates": "AWS::EC2::LaunchTemplate",
    "rules": "AWS::Events::Rule",
    "log groups": "AWS::Logs::LogGroup",
    "alarms": "AWS::CloudWatch::Alarm",
}
FREE_METRICS = 50
"""That a dashboard may hold without a charge, three of them an account."""


def test_the_quick_start_counts_what_is_made(template: Template) -> None:
    quickstart = (ROOT / "docs" / "quickstart.md").read_text()
    for what, kind in MADE.items():
        assert f"{WORDS[len(template.of_type(kind))]} {what}" in quickstart


def test_the_costs_count_the_metrics_in_alarms(template: Template) -> None:
    watched = [alarm.get("Metrics") for alarm in template.properties("AWS::CloudWatch::Alarm")]
    count = sum(1 if metrics is None else sum("MetricStat" in m for m in metrics) for metrics in watched)
    assert re.search(rf"metrics in alarms: .* \| {count} \| 0.10 \|", (ROOT / "docs" / "costs.md").read_text())


def graphs(template: Template) -> dict[str, dict[str, Any]]:
    (dashboard,) = template.properties("AWS::CloudWatch::Dashboard")
    widgets = json.loads(text(dashboard["DashboardBody"]))["widgets"]
    return {widget["properties"]["title"]: widget["properties"] for widget in widgets}


def test_the_runbook_has_every_graph_of_the_dashboard(template: Template) -> None:
    operations = (ROOT / "docs" / "operations.md").read_text()
    (_, _, table) = operations.partition("| graph | reads |\n")
    told = {row.split("|")[1].strip() for row in table.split("\n\n")[0].splitlines()[1:]}
    faults = "Errors of functions, Throttles of functions"
    assert told - {faults} | set(faults.split(", ")) == graphs(template).keys()


def test_the_dashboard_reads_every_metric_of_the_stack_but_those_by_pool_and_costs_nothing(template: Template) -> None:
    read = [line for graph in graphs(template).values() for line in graph["metrics"]]
    assert len(read) <= FREE_METRICS
    own = {line[1] for line in read if line[0] == names.NAMESPACE}
    searched = {name for line in read if isinstance(line[0], dict) for name in re.findall(r'Name="(\w+)"', str(line))}
    every = {value for name, value in vars(names).items() if name.startswith("METRIC_")}
    assert every - own - searched == set()


def test_what_is_searched_for_is_this_stacks_own(template: Template) -> None:
    searches = [line[0]["expression"] for g in graphs(template).values() for line in g["metrics"] if len(line) == 1]
    assert len(searches) == 2
    for search in searches:
        assert search.startswith("SEARCH('{Lowtide,Stack,Reason} MetricName=")
        assert 'Stack="Lowtide"' in search
