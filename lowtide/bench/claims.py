"""Claims and heartbeats per second by 1, 10 and 100 workers, beside bare conditional writes on the same table."""

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from random import Random
from typing import Any

from lambdas import names
from lambdas.adapters import items
from lambdas.adapters.heartbeats import Heartbeats
from lambdas.adapters.leases import Leases
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.table import Table
from lambdas.adapters.workers import Workers
from lambdas.control.claiming import Claims
from lambdas.control.worker_api import WorkerApi
from lambdas.control.worker_calls import Claim, Heartbeat
from lambdas.domain.fleet.fleet import Instance, InstanceState
from lambdas.domain.jobs.jobs import JobSpec
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts
from lambdas.domain.settings import Settings
from lowtide.bench.results import Result
from lowtide.bench.stage import INSTANCE_TYPE
from lowtide.market import catalogue
from lowtide.sim.dynamodb import SCHEMA, FakeDynamoDB

WORKERS = (1, 10, 100)
CALLS = 300
"""Of each kind and for each number of workers, shared out among them."""
AT_ONCE = 8
"""Leases that one claim gets where a worker has room for many, and that one instance holds at most: eight GPUs."""
PATIENCE = 60.0
"""Seconds for one figure: what is not done by then is not waited for."""
_TABLE = "bench-claims"
_POOL = "claims"
_WRITES_OF_A_CLAIM = 4
"""The job, its queue entry, its lease, its instance (Leases.grant)."""
Act = Callable[[int, int], int]
"""From a worker's number and its call's to how much of what is counted the call did."""


def claims() -> Result:
    bench = _Bench()
    return Result(
        name="claims",
        title="Claims and heartbeats",
        about=f"Per second: {CALLS} of each kind, by so many workers at once on one table in memory, which serves "
        "one call after the other and is one process with them: of the local AWS's table such figures tell of "
        "its own slowness. So a write costs next to nothing here and Lowtide's own time weighs most. A "
        "conditional write is one small item and nothing else; the aim, half as many claims, is not met this "
        "way: a claim reads its seat, its leases, the queue's shards and the job, some milliseconds of "
        "Python, then is one transaction of four conditional writes, of which AWS makes eight; what such "
        "transactions alone reach stands beside it. In AWS each of its four round trips takes milliseconds, "
        "and claims of other instances run beside it in functions of their own. A worker with room for more "
        f"gets up to {AT_ONCE} leases in one claim, counted in leases. A heartbeat names one lease: it notes "
        "that the instance lives, reads its leases and renews. Ratios travel between machines, rates do not.",
        columns=(
            "workers",
            "conditional writes",
            "transactions of four",
            "claims",
            f"leases, {AT_ONCE} a claim",
            "heartbeats",
            "claims / writes",
            "claims / transactions",
            "heartbeats / writes",
        ),
        rows=tuple(bench.row(workers) for workers in WORKERS),
    )


class _Silent:
    """Nobody has to look at this pool."""

    def ring(self, pool: str, cause: str) -> None: ...


class _Bench:
    def __init__(self) -> None:
        dynamodb: Any = FakeDynamoDB(_now)
        dynamodb.create_table(TableName=_TABLE, **SCHEMA)
        self._table = Table(dynamodb, _TABLE)
        self._kept = Settings().jobs_kept
        self._ledger = Ledger(self._table, jobs_kept=self._kept)
        self._number = itertools.count()
        PoolConfig(self._table).put_pool(_pool(), None, now=_now())
        self._apis = [self._api(number) for number in range(max(WORKERS))]
        self._holding = [self._holder(api) for api in self._apis]

    def row(self, workers: int) -> tuple[str, ...]:
        writes = _per_second(workers, self._write)
        transactions = _per_second(workers, self._transaction)
        single = _per_second(workers, self._claims(workers, most=1))
        many = _per_second(workers, self._claims(workers, most=AT_ONCE))
        beats = _per_second(workers, self._beat)
        rates = (writes, transactions, single, many, beats)
        ratios = (single / writes, single / transactions, beats / writes)
        return (str(workers), *(f"{rate:.0f}" for rate in rates), *(f"{ratio:.2f}" for ratio in ratios))

    # --- what is measured ---

    def _write(self, worker: int, call: int) -> int:
        self._table.put(self._small(worker, call), condition="attribute_not_exists(pk)")
        return 1

    def _transaction(self, worker: int, call: int) -> int:
        put = [self._small(worker, call) for _ in range(_WRITES_OF_A_CLAIM)]
        self._table.transact([self._table.put_op(each, condition="attribute_not_exists(pk)") for each in put])
        return 1

    def _small(self, worker: int, call: int) -> dict[str, Any]:
        place = f"{call}#{next(self._number)}"
        return {names.TABLE_PK: f"BARE#{worker}", names.TABLE_SK: place, "text": "x" * 300}

    def _claims(self, workers: int, *, most: int) -> Act:
        """Claims against a full queue, by instances that nobody has claimed for. Who lost its races asks again."""
        for _ in range(CALLS + workers * AT_ONCE):
            self._accept()
        spare = [self._instance() for _ in range(CALLS // most + 2 * workers)]
        seats = [(spare.pop(), AT_ONCE) for _ in range(workers)]

        def claim(worker: int, _: int) -> int:
            instance_id, free = seats[worker]
            asked = Claim(request_id=f"r-{next(self._number)}", free_slots=free, free_aux_slots=0, most=most)
            given = len(self._apis[worker].claim(instance_id, asked)["leases"])
            seats[worker] = (instance_id, free - given) if free > given else (spare.pop(), AT_ONCE)
            return given

        return claim

    def _beat(self, worker: int, _: int) -> int:
        instance_id, job_id = self._holding[worker]
        answer = self._apis[worker].heartbeat(instance_id, Heartbeat(leases={job_id: 1}, notice=None))
        assert not answer["stop"]
        return 1

    # --- what there is ---

    def _accept(self) -> str:
        job_id = f"job-{next(self._number)}"
        self._ledger.accept(JobSpec(job_id=job_id, pool=_POOL, command=("true",)), _now(), _now())
        return job_id

    def _instance(self) -> str:
        instance = Instance(
            instance_id=f"i-{next(self._number):017x}",
            pool=_POOL,
            decision="d-1",
            instance_type=INSTANCE_TYPE,
            zone="us-east-1a",
            state=InstanceState.RUNNING,
            reported_at=_now(),
            idle_since=_now(),
            slots=AT_ONCE,
            launched_at=_now(),
            capacity_type=CapacityType.SPOT,
        )
        self._table.put(items.instance_item(instance))
        return instance.instance_id

    def _holder(self, api: WorkerApi) -> tuple[str, str]:
        """An instance and the job that it holds, under fence 1."""
        job_id, instance_id = self._accept(), self._instance()
        asked = Claim(request_id=job_id, free_slots=1, free_aux_slots=0, most=1)
        (lease,) = api.claim(instance_id, asked)["leases"]
        return instance_id, lease["job_id"]

    def _api(self, number: int) -> WorkerApi:
        leases, chance = Leases(self._table, jobs_kept=self._kept), Random(number)
        return WorkerApi(
            workers=Workers(self._table),
            leases=leases,
            heartbeats=Heartbeats(self._table, period=Settings().heartbeat),
            claims=Claims(self._table, leases, chance),
            doorbell=_Silent(),
            settings=Settings(),
            now=_now,
            random=chance,
        )


def _pool() -> Pool:
    known = catalogue.facts(INSTANCE_TYPE)
    assert known is not None
    facts = TypeFacts(
        name=INSTANCE_TYPE,
        vcpus=known.vcpus,
        memory_mib=known.memory_mib,
        gpus=0,
        architecture=known.architectures[0],
        on_demand_price=catalogue.on_demand_price(INSTANCE_TYPE),
        slots=AT_ONCE,
    )
    return Pool(name=_POOL, types=(facts,), spot=True, max_instances=10_000)


def _now() -> datetime:
    return datetime.now(UTC)


def _per_second(workers: int, act: Act) -> float:
    """How much of what `act` counts is done in a second, until CALLS of it are."""
    lock, done = threading.Lock(), 0
    until = time.monotonic() + PATIENCE

    def work(worker: int) -> None:
        nonlocal done
        for call in itertools.count():
            with lock:
                if done >= CALLS or time.monotonic() > until:
                    return
            did = act(worker, call)
            with lock:
                done += did

    began = time.monotonic()
    with ThreadPoolExecutor(workers) as threads:
        for _ in threads.map(work, range(workers)):
            pass
    return done / (time.monotonic() - began)
