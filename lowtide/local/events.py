"""EventBridge on the world's pace: schedules, events of AWS services, and what happens to a failed delivery.

Stock ministack looks at schedules every ten seconds, runs a rule's Lambda target once and loses the event when the
function fails, and delivers to functions that never allowed it. On AWS EventBridge invokes a function asynchronously:
Lambda tries three times, a minute and then two apart, and then gives the event to the function's failure
destination or dead-letter queue; what EventBridge itself may not deliver goes to the target's dead-letter queue.
"""

import contextvars
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements

_RETRY_BASE_SECONDS = 60.0
_RETRY_MOST_SECONDS = 300.0
"""Lambda's wait after a failed asynchronous invocation: one minute, then two, at most five."""


class Events:
    """The default bus of one account's Region."""

    def __init__(self, *, account: str, region: str, pace: float, started: datetime) -> None:
        self._account = account
        self._region = region
        self._pace = pace
        self._started = started

    def install(self, replacements: Replacements) -> None:
        events, functions = upstream("services.eventbridge"), upstream("services.lambda_svc")
        replacements.replace(events, "_parse_rate_seconds", self._paced_rate(events._parse_rate_seconds))
        replacements.replace(events, "_cron_next_fire", self._paced_cron(events._cron_next_fire))
        # A schedule is at most a twentieth of a (scaled) minute late.
        replacements.replace(events, "_SCHEDULER_TICK_INTERVAL", max(0.05, 3 / self._pace))
        replacements.replace(events, "_invoke_target", _guarded(events._invoke_target))
        replacements.replace(events, "_dispatch_to_lambda", _invoke_asynchronously)
        replacements.replace(functions, "_LAMBDA_ASYNC_RETRY_BASE_SECONDS", _RETRY_BASE_SECONDS / self._pace)
        replacements.replace(functions, "_LAMBDA_ASYNC_RETRY_MAX_SECONDS", _RETRY_MOST_SECONDS / self._pace)

    def emit(self, source: str, detail_type: str, detail: Mapping[str, Any], resources: Sequence[str]) -> None:
        """Puts an event of an AWS service on the default bus. Targets run on threads of their own."""
        entry = {
            "Source": source,
            "DetailType": detail_type,
            "Detail": json.dumps(detail),
            "Resources": list(resources),
        }

        def put() -> None:
            with upstream("core.responses").request_scope(self._account, self._region):
                upstream("services.eventbridge")._put_events({"Entries": [entry]}, allow_aws_source=True)

        contextvars.copy_context().run(put)

    def _paced_rate(self, stock: Callable[[str], float | None]) -> Any:
        def seconds(expr: str) -> float | None:
            found = stock(expr)
            return None if found is None else found / self._pace

        return seconds

    def _paced_cron(self, stock: Callable[[Any, datetime], datetime | None]) -> Any:
        """Cron on a calendar that runs `pace` times as fast as the real one since the world began."""

        def next_fire(fields: Any, after_dt: datetime) -> datetime | None:
            elapsed = (after_dt - self._started).total_seconds()
            found = stock(fields, self._started + timedelta(seconds=elapsed * self._pace))
            if found is None:
                return None
            return self._started + (found - self._started) / self._pace

        return next_fire


def _invoke_asynchronously(arn: str, payload: str) -> None:
    functions = upstream("services.lambda_svc")
    func, config, _ = functions._get_func_record_for_ref(arn)
    functions.invoke_async_with_retry(functions._execution_record_for_config(func, config), json.loads(payload))


def _guarded(stock: Callable[..., None]) -> Callable[..., None]:
    """Delivers to a Lambda target only what its resource policy lets the rule deliver."""

    def invoke(target: Mapping[str, Any], event: Mapping[str, Any], rule: Mapping[str, Any], view: Any = None) -> None:
        arn = str(target.get("Arn", ""))
        refusal = _refusal(arn, rule) if ":lambda:" in arn else None
        if refusal is None:
            stock(target, event, rule, view)
        else:
            _to_dead_letters(target, event, rule, refusal)

    return invoke


def _refusal(arn: str, rule: Mapping[str, Any]) -> str | None:
    """EventBridge's error code if it cannot deliver to the function, None if it can."""
    func, config, _ = upstream("services.lambda_svc")._get_func_record_for_ref(arn)
    if not func or not config:
        return "RESOURCE_NOT_FOUND"
    statements: Sequence[Mapping[str, Any]] = (func.get("policy") or {}).get("Statement", [])
    return None if any(_allows_rule(statement, rule) for statement in statements) else "NO_PERMISSIONS"


def _allows_rule(statement: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    service = principal.get("Service") if isinstance(principal, Mapping) else principal
    sources = [
        value
        for conditions in (statement.get("Condition") or {}).values()
        for key, value in conditions.items()
        if key.lower() == "aws:sourcearn"
    ]
    return (
        statement.get("Effect") == "Allow"
        and service in ("events.amazonaws.com", "*")
        and statement.get("Action") in ("lambda:InvokeFunction", "lambda:*", "*")
        and all(upstream("core.iam_evaluator").fnmatch_iam_cs(rule.get("Arn", ""), source) for source in sources)
    )


def _to_dead_letters(
    target: Mapping[str, Any], event: Mapping[str, Any], rule: Mapping[str, Any], refusal: str
) -> None:
    events = upstream("services.eventbridge")
    queue = (target.get("DeadLetterConfig") or {}).get("Arn")
    if queue:
        letter = {"event": event, "RULE_ARN": rule.get("Arn"), "TARGET_ARN": target.get("Arn"), "ERROR_CODE": refusal}
        events._dispatch_to_sqs(upstream("core.arn").parse_arn(queue), json.dumps(letter))
