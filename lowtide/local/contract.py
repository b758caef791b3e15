"""Every name of ministack that the local AWS replaces or calls, and how a module of it is had.

ministack is pinned exactly, but an environment can drift: `check` runs before anything is replaced and says which
names are gone or have other parameters, so that a world fails at its start and not in the middle of a deploy.
ministack carries no types and reads the environment when it is imported; both are why it is reached through
`upstream` alone, never by an import statement.
"""

import importlib
import inspect
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

PINNED = "1.5.33"
"""The version that every replacement was written against (pyproject.toml pins the same)."""


class UpstreamChanged(RuntimeError):
    """ministack is not what the replacements were written for. The message names each difference."""


@dataclass(frozen=True, slots=True)
class Name:
    """One module attribute of ministack. `parameters` is None for what is not called by us with arguments."""

    module: str
    attribute: str
    parameters: str | None = None


NAMES: tuple[Name, ...] = (
    Name("app", "AUTH"),
    Name("app", "SERVICE_HANDLERS"),
    Name("app", "app", "scope receive send"),
    Name("app", "pin_request_origin", "source_ip secure_transport"),
    Name("app", "detect_service", "method path headers query_params"),
    Name(
        "app",
        "_enforce_data_plane",
        "service iam_action headers query_params request_id resource_arn service_context auth_error_response "
        "named_resource",
    ),
    Name("app", "_reset_all_state", ""),
    Name("core.iam_actions", "SERVICE_TO_IAM_NAMESPACE"),
    Name("core.iam_actions", "request_tag_context", "service iam_action body params"),
    Name("core.iam_actions", "extract_iam_action", "service method path headers body query_params"),
    Name(
        "core.iam_actions",
        "extract_resource_arn",
        "service method path headers body query_params region account_id",
    ),
    Name(
        "core.iam_evaluator",
        "EvalContext",
        "principal_arn principal_type principal_account action resource_arn region source_ip secure_transport "
        "request_tags tag_keys service_context principal_keys",
    ),
    Name("core.arn", "parse_arn", "value"),
    Name(
        "core.iam_evaluator",
        "ParsedStatement",
        "sid effect actions not_actions resources not_resources conditions",
    ),
    Name("core.iam_evaluator", "AuthError", "code message details"),
    Name("core.iam_evaluator", "fnmatch_iam_cs", "value pattern"),
    Name("core.iam_evaluator", "evaluate", "ctx policies limits"),
    Name("core.iam_evaluator", "resolve_principal", "access_key_id account_id credential"),
    Name("core.iam_evaluator", "resolve_caller_identity", "access_key_id"),
    Name("core.lambda_runtime", "ProvidedRuntimeError", "message error_type"),
    Name("core.lambda_runtime", "ProvidedWorker", "func_name config code_zip"),
    Name("core.lambda_runtime", "_worker_class_for", "config"),
    Name("core.lambda_runtime", "execution_credentials", "config"),
    Name("core.lambda_runtime", "reset", ""),
    Name("core.responses", "request_scope", "account_id region"),
    Name("core.responses", "json_response", "data status content_type"),
    Name("core.router", "extract_access_key_id", "headers query_params"),
    Name("services.cloudformation.custom_resource", "_HOST"),
    Name("services.cloudformation.custom_resource", "_PORT"),
    Name("services.cloudformation.custom_resource", "deliver_response", "token response"),
    Name("services.cloudformation.provisioners", "_RESOURCE_HANDLERS"),
    Name("services.cloudformation.provisioners", "_cw_metric_alarm_record", "name props"),
    Name("services.cloudwatch", "_alarms"),
    Name("services.cloudwatch", "_metrics"),
    Name("services.cloudwatch", "_calc_stats", "points"),
    Name("services.cloudwatch", "_dims_from_list", "dimensions"),
    Name("services.cloudwatch", "_dims_key", "dims"),
    Name("services.cloudwatch", "_dispatch_alarm_actions", "alarm old_state new_state reason"),
    Name("services.cloudwatch", "_evaluate_alarm", "alarm"),
    Name("services.cloudwatch", "_evaluate_parent_alarms", "child seen"),
    Name("services.cloudwatch", "_record_history", "alarm_name old_state new_state reason alarm_type reason_data"),
    Name("services.cloudwatch", "_stat_value", "stats stat_name points"),
    Name("services.cloudwatch", "_store_datum", "namespace name dims ts unit value values counts stat_values"),
    Name("services.cloudwatch", "record_metric", "namespace metric_name value unit dimensions"),
    Name("services.dynamodb", "_condition_syntax_error", "expr slot"),
    Name("services.dynamodb", "_lock"),
    Name("services.dynamodb", "_tables"),
    Name("services.dynamodb", "_tokenize", "expr"),
    Name("services.dynamodb", "_update_ttl", "data"),
    Name("services.ec2", "_tags"),
    Name("services.eventbridge", "_SCHEDULER_TICK_INTERVAL"),
    Name("services.eventbridge", "_cron_next_fire", "fields after_dt"),
    Name("services.eventbridge", "_dispatch_to_lambda", "arn payload"),
    Name("services.eventbridge", "_dispatch_to_sqs", "spec payload sqs_parameters"),
    Name("services.eventbridge", "_invoke_target", "target event rule view"),
    Name("services.eventbridge", "_parse_rate_seconds", "expr"),
    Name("services.eventbridge", "_put_events", "data allow_aws_source"),
    Name("services.iam", "_instance_profiles"),
    Name("services.iam", "_roles"),
    Name("services.iam", "_IAM_HANDLERS"),
    Name("services.iam", "_create_service_linked_role", "p"),
    Name("services.iam", "_error", "status code message ns"),
    Name("services.iam", "_p", "params key default"),
    Name("services.lambda_svc", "_ESM_BACKOFF_SECONDS"),
    Name("services.lambda_svc", "_LAMBDA_ASYNC_RETRY_BASE_SECONDS"),
    Name("services.lambda_svc", "_LAMBDA_ASYNC_RETRY_MAX_SECONDS"),
    Name("services.lambda_svc", "_PROVIDED_CODE_CACHE"),
    Name(
        "services.lambda_svc",
        "_build_function_url_event",
        "url_id account_id region method path headers body query_params source_ip anonymous trace_root",
    ),
    Name("services.lambda_svc", "_create_function_url_config", "func_name data qualifier"),
    Name("services.lambda_svc", "_emit_lambda_logs", "func request_id log_text error duration_ms log_source"),
    Name("services.lambda_svc", "_emit_lambda_metrics", "function_name duration_ms error throttle"),
    Name("services.lambda_svc", "_execute_function_with_config_scope", "func event"),
    Name("services.lambda_svc", "_execute_function_provided_warm", "func event request_id"),
    Name("services.lambda_svc", "_execute_function_warm", "func event request_id"),
    Name("services.lambda_svc", "_execution_record_for_config", "func config"),
    Name("services.lambda_svc", "_extract_zip_preserving_mode", "zf dest_dir"),
    Name("services.lambda_svc", "_function_urls"),
    Name("services.lambda_svc", "_function_url_id", "function_url"),
    Name("services.lambda_svc", "_functions"),
    Name("services.lambda_svc", "_get_func_record_for_ref", "function_ref"),
    Name("services.lambda_svc", "_provided_runtime_code_dir", "code_zip"),
    Name("services.lambda_svc", "_provided_worker_env", "config code_dir port"),
    Name("services.lambda_svc", "_reserved_concurrency", "func config"),
    Name("services.lambda_svc", "_resolve_layer_zip", "attachment"),
    Name("services.lambda_svc", "_runtime_env_vars", "config"),
    Name("services.lambda_svc", "_sqs_esm_concurrency", "esm func_rec config queue"),
    Name("services.lambda_svc", "_url_config_key", "func_name qualifier"),
    Name("services.lambda_svc", "invoke_async_with_retry", "func event"),
    Name("services.sns", "_HOST"),
    Name("services.sns", "_PORT"),
    Name("services.sqs", "DEFAULT_HOST"),
    Name("services.sqs", "DEFAULT_PORT"),
    Name("services.sqs", "_CANONICAL_NETLOC"),
    Name("services.sqs", "_HOST_EXPLICIT"),
    Name("services.sqs", "_queues"),
    Name("services.sqs", "_queues_lock"),
    Name("services.sts", "register_session", "access_key session"),
)


def upstream(module: str) -> Any:
    """A module of ministack, untyped: `upstream("services.sqs")`. Loads it, so the environment must be set before."""
    return importlib.import_module(f"ministack.{module}")


def check(names: tuple[Name, ...] = NAMES) -> None:
    """Raises UpstreamChanged, naming every difference, unless all of `names` are as they were."""
    differences = [difference for name in names if (difference := _difference(name)) is not None]
    if differences:
        raise UpstreamChanged(
            f"ministack {version('ministack')} is not what the local AWS was written for ({PINNED}): "
            f"{'; '.join(differences)}. Run make setup to get the pinned version."
        )


def _difference(name: Name) -> str | None:
    where = f"{name.module}.{name.attribute}"
    try:
        value = getattr(upstream(name.module), name.attribute)
    except (ImportError, AttributeError):
        return f"{where} is gone"
    if name.parameters is None:
        return None
    found = list(inspect.signature(value).parameters)
    return None if found == name.parameters.split() else f"{where} takes {' '.join(found) or 'nothing'}"
