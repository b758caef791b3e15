"""How the stack's functions are made: one bundle of code, one log group, and for each a role with what it needs."""

# jsii's classes do not match jsii's own interfaces structurally: the names of parameters differ.
# pyright: reportArgumentType=false

from collections.abc import Mapping, Sequence

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.acknowledged import acknowledge, acknowledge_wildcards
from infra.bundling import Built
from infra.logs import log_group
from infra.options import Options
from lambdas import names

_RUNTIMES = {
    "3.11": lambda_.Runtime.PYTHON_3_11,
    "3.12": lambda_.Runtime.PYTHON_3_12,
    "3.13": lambda_.Runtime.PYTHON_3_13,
}
_ARCHITECTURES = {"arm64": lambda_.Architecture.ARM_64, "x86_64": lambda_.Architecture.X86_64}


class Functions(Construct):
    """Makes functions (`add`) that share code, runtime, log group and the environment that every one of them reads."""

    def __init__(
        self, scope: Construct, id: str, *, options: Options, built: Built, environment: Mapping[str, str]
    ) -> None:
        super().__init__(scope, id)
        self.log_group = log_group(self, "Logs", days=options.log_days)
        self.all: list[lambda_.Function] = []
        self._runtime = _RUNTIMES[options.python]
        self._architecture = _ARCHITECTURES[options.arch]
        self._code = lambda_.Code.from_asset(str(built.path), asset_hash=built.digest)
        self._environment = {
            names.ENV_STACK: options.stack,
            names.ENV_SETTINGS: options.settings,
            **environment,
        }

    def add(
        self,
        scope: Construct,
        id: str,
        *,
        handler: str,
        timeout: Duration,
        memory_mib: int,
        statements: Sequence[iam.PolicyStatement],
        environment: Mapping[str, str] | None = None,
    ) -> lambda_.Function:
        """The function of `lambdas/handlers/<handler>.py`, allowed `statements` and to write its own log lines."""
        role = iam.Role(scope, f"{id}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.log_group.grant_write(role)
        for statement in statements:
            role.add_to_policy(statement)
        acknowledge_wildcards(role, statements)
        function = lambda_.Function(
            scope,
            id,
            code=self._code,
            handler=f"lambdas.handlers.{handler}.handler",
            runtime=self._runtime,
            architecture=self._architecture,
            timeout=timeout,
            memory_size=memory_mib,
            role=role,
            log_group=self.log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            application_log_level_v2=lambda_.ApplicationLogLevel.INFO,
            environment={**self._environment, **(environment or {})},
        )
        acknowledge(
            function,
            "The newest Python that its own dependencies and tests are run with (`-c python`).",
            "AwsSolutions-L1",
            "Serverless-LambdaLatestVersion",
        )
        acknowledge(
            function,
            "What is called asynchronously has a failure destination (events.py), which says more than a dead letter; "
            "the others are called by queues, by a stream or by somebody who waits for the answer.",
            "Serverless-LambdaDLQ",
        )
        acknowledge(
            function,
            "A tracer would take more CPU at every cold start than the function itself (docs/adr/0010); each pass says "
            "what it did in one line of the log.",
            "Serverless-LambdaTracing",
        )
        self.all.append(function)
        return function
