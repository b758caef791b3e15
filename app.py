"""The CDK app: one stack, into the account and Region that the environment names.

    cdk deploy                                     the default stack, Lowtide
    cdk deploy -c stack=Night -c arch=x86_64       another one beside it
    cdk deploy -c vpc_id=vpc-1 -c subnet_ids=subnet-a,subnet-b

Every `-c` option is read in infra/options.py, which says what each means.
"""

import os
import sys
from pathlib import Path

import aws_cdk as cdk

from infra.bundling import build_functions, build_worker
from infra.options import Options, check_names
from infra.stack import LowtideStack
from lambdas.domain.settings import Settings

ROOT = Path(__file__).resolve().parent


def main() -> None:
    app = cdk.App()
    try:
        check_names(app.node.get_all_context())
        options = Options.read(app.node.try_get_context, os.environ)
        Settings.from_json(options.settings)  # else every function would end in this error, once deployed
        functions = build_functions(ROOT, python=options.python, arch=options.arch)
        worker = build_worker(ROOT)
    except ValueError as error:
        sys.exit(str(error))
    LowtideStack(
        app,
        options.stack,
        options=options,
        functions=functions,
        worker=worker,
        env=cdk.Environment(account=os.environ.get("CDK_DEFAULT_ACCOUNT"), region=os.environ.get("CDK_DEFAULT_REGION")),
    )
    app.synth()


if __name__ == "__main__":
    main()
