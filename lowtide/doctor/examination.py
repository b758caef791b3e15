"""Every check in the order in which they make sense: who asks, the account, the stack, each pool, and its dry run."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.table import Fault
from lambdas.domain.pools.pools import Pool
from lambdas.domain.reasons import ReasonClass
from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Failure, sentence
from lowtide.cli.remedies import for_stack
from lowtide.doctor import account, place, pools, quotas, rehearsal
from lowtide.doctor.findings import Cause, Finding, Status, fine
from lowtide.doctor.place import Place
from lowtide.poolfile.facts import gather
from lowtide.poolfile.load import PoolFile
from lowtide.poolfile.resolve import resolve

_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})


def examine(deployment: Deployment, file: PoolFile | None) -> Iterator[Finding]:
    """`file`: the pools to be, else those that the stack has. Each check stands alone: one that may not ask, or gets no
    answer, is a warning that says so."""
    for finding in _found(deployment, file):
        yield replace(finding, remedy=for_stack(finding.remedy, deployment.stack))


def _found(deployment: Deployment, file: PoolFile | None) -> Iterator[Finding]:
    who = _credentials(deployment)
    yield who
    if who.status is not Status.OK:
        return
    there, told = _stack(deployment)
    yield told
    found, wrong = _pools(there, file)
    yield from wrong
    yield from _guarded("bootstrap", partial(account.bootstrap, there))
    yield from _guarded("spot-role", partial(account.spot_role, there, found))
    yield from _guarded("volume-key", partial(account.volume_key, there))
    yield from _guarded("quota", partial(quotas.quotas, there, found))
    for pool in found:
        for check, look in _of_pool(there, pool, stored=file is None):
            yield from (replace(each, pool=pool.name) for each in _guarded(check, look))


def _of_pool(there: Place, pool: Pool, *, stored: bool) -> Iterator[tuple[str, Callable[[], Iterable[Finding]]]]:
    yield "offerings", partial(pools.offerings, there, pool)
    yield "subnets", partial(pools.subnets, there, pool)
    yield "image", partial(pools.images, there, pool)
    yield "profile", partial(pools.profile, there, pool)
    yield "key-pair", partial(pools.key_pair, there, pool)
    if there.stack is not None:
        yield rehearsal.CHECK, partial(rehearsal.dry_run, there, there.stack, pool, stored=stored)


def _credentials(deployment: Deployment) -> Finding:
    cause = Cause(reason_class=ReasonClass.PERMISSION, code="NoCredentials")
    trouble = Finding(check="credentials", status=Status.FAILURE, what="", why="nothing can be asked", cause=cause)
    try:
        asked_by = deployment.client("sts").get_caller_identity()["Arn"]
        return fine("credentials", f"{asked_by} in {deployment.region}")
    except Failure as error:
        return replace(trouble, what=str(error), remedy="export AWS_DEFAULT_REGION=REGION")
    except (ClientError, BotoCoreError) as error:
        return replace(trouble, what=sentence(error), remedy="aws configure")


def _stack(deployment: Deployment) -> tuple[Place, Finding]:
    try:
        there = Place(deployment=deployment, stack=place.deployed(deployment))
    except Failure as error:
        return Place(deployment=deployment, stack=None), _no_stack(str(error), "cdk deploy")
    except LookupError as error:
        return Place(deployment=deployment, stack=None), _no_stack(str(error), "lowtide doctor --stack NAME")
    except (ClientError, BotoCoreError) as error:
        return Place(deployment=deployment, stack=None), _unasked("stack", error)
    return there, fine("stack", f"{deployment.stack} is deployed in {deployment.region}")


def _no_stack(what: str, remedy: str) -> Finding:
    return Finding(
        check="stack",
        status=Status.WARNING,
        what=what,
        why="only the account and the pool file are looked at",
        remedy=remedy,
        cause=Cause(reason_class=ReasonClass.CONFIGURATION, code="NoStack"),
    )


def _pools(there: Place, file: PoolFile | None) -> tuple[list[Pool], list[Finding]]:
    try:
        if file is not None:
            return _of_file(there.deployment, file)
        if there.stack is None:
            return [], []
        stored = [pool for pool in PoolConfig(there.deployment.table).pools() if not pool.deleted]
    except (ClientError, BotoCoreError, Fault) as error:
        return [], [_unasked("pools", error)]
    if stored:
        return stored, []
    nothing = "the stack has no pools"
    why = "only the account and the stack are looked at"
    return [], [
        Finding(
            check="pools",
            status=Status.WARNING,
            what=nothing,
            why=why,
            remedy="lowtide pools apply FILE",
            cause=Cause(reason_class=ReasonClass.CONFIGURATION, code="NoPools"),
        )
    ]


def _of_file(deployment: Deployment, file: PoolFile) -> tuple[list[Pool], list[Finding]]:
    facts = gather(deployment, file.entries)
    found: list[Pool] = []
    wrong: list[Finding] = []
    for number, entry in enumerate(file.entries):
        pool, problems = resolve(entry, f"resource_pools[{number}]", facts, deployment.now())
        found += [pool] if pool else []
        wrong += [
            Finding(
                check="pools",
                status=Status.FAILURE,
                what=str(problem),
                why="the pool cannot be applied as it is",
                remedy="change the pool file, then lowtide pools validate FILE",
                pool=entry.pool_name,
                cause=Cause(reason_class=ReasonClass.CONFIGURATION, code="InvalidPool"),
            )
            for problem in problems
        ]
    return found, wrong


def _guarded(check: str, look: Callable[[], Iterable[Finding]]) -> Sequence[Finding]:
    """What the check finds; where AWS did not let it go on, or was not there, what it had found and a warning."""
    found: list[Finding] = []
    try:
        for each in look():
            found.append(each)
    except (ClientError, BotoCoreError, Fault) as error:
        found.append(_unasked(check, error))
    return found


def _unasked(check: str, error: Exception) -> Finding:
    denied = isinstance(error, ClientError) and error.response.get("Error", {}).get("Code", "") in _DENIED
    return Finding(
        check=check,
        status=Status.WARNING,
        what=f"could not be looked at: {sentence(error)}",
        why="whether it would be in the way of a launch is not known",
        remedy="ask for the permission that the message names, then lowtide doctor" if denied else "lowtide doctor",
        cause=Cause(
            reason_class=ReasonClass.PERMISSION if denied else ReasonClass.TRANSIENT,
            code="NotAllowedToLook" if denied else "NotLookedAt",
        ),
    )
