"""The stack's request rate: never exceeded, never unfair."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.adapters import keys
from lambdas.adapters.request_bucket import RequestBucket
from lambdas.adapters.table import Unavailable
from lambdas.domain.buying.turns import Rate, full, take
from lambdas.domain.settings import Settings
from lowtide.sim.calls import Killed, Request, Response
from lowtide.sim.clock import START
from tests.passes.world import World, pool

RATE = Rate(burst=5, per_second=2, patience=timedelta(minutes=3))


class Counted(Counter[str]):
    """A hook that counts calls."""

    def before(self, operation: str, request: Request) -> None:
        self[operation] += 1

    def after(self, operation: str, request: Request, response: Response) -> None: ...


asking = st.tuples(st.sampled_from("abcdef"), st.booleans(), st.floats(0, 5))


@given(st.lists(asking, max_size=80))
def test_tokens_given_never_exceed_the_burst_and_what_has_grown(asked: list[tuple[str, bool, float]]) -> None:
    turns, now, given_out = full(RATE, START), START, 0
    for name, replaces, wait in asked:
        now += timedelta(seconds=wait)
        turns, retry_at = take(turns, name, replaces=replaces, rate=RATE, now=now)
        given_out += retry_at is None
        assert given_out <= RATE.burst + RATE.per_second * (now - START).total_seconds() + 1e-6
        assert retry_at is None or retry_at > now


def test_a_pool_that_waits_is_served_before_one_that_was_served_later() -> None:
    rate = Rate(burst=1, per_second=1, patience=timedelta(minutes=3))
    turns, retry_at = take(full(rate, START), "busy", replaces=False, rate=rate, now=START)
    assert retry_at is None
    turns, retry_at = take(turns, "quiet", replaces=False, rate=rate, now=START)
    assert retry_at is not None
    later = START + timedelta(seconds=1)
    turns, retry_at = take(turns, "busy", replaces=False, rate=rate, now=later)
    assert retry_at is not None, "the one token that has grown is the quiet pool's"
    turns, retry_at = take(turns, "quiet", replaces=False, rate=rate, now=later)
    assert retry_at is None


def test_a_replacement_goes_before_who_waits_for_longer() -> None:
    rate = Rate(burst=1, per_second=1, patience=timedelta(minutes=3))
    turns, _ = take(full(rate, START), "first", replaces=False, rate=rate, now=START)
    turns, _ = take(turns, "waits", replaces=False, rate=rate, now=START)
    later = START + timedelta(seconds=1)
    _, retry_at = take(turns, "first", replaces=True, rate=rate, now=later)
    assert retry_at is None


def test_a_pool_that_no_longer_asks_holds_nobody_back() -> None:
    rate = Rate(burst=1, per_second=1, patience=timedelta(minutes=3))
    turns, _ = take(full(rate, START), "busy", replaces=False, rate=rate, now=START)
    turns, _ = take(turns, "gave up", replaces=False, rate=rate, now=START)
    later = START + timedelta(minutes=4)
    _, retry_at = take(turns, "busy", replaces=False, rate=rate, now=later)
    assert retry_at is None


def test_every_pool_that_keeps_asking_is_served() -> None:
    rate = Rate(burst=1, per_second=1 / 60, patience=timedelta(minutes=3))
    turns, now, served = full(rate, START), START, set[str]()
    for _ in range(8):
        for name in ("greedy", "a", "b", "c"):
            turns, retry_at = take(turns, name, replaces=False, rate=rate, now=now)
            served |= {name} if retry_at is None else set()
        now += timedelta(minutes=1)
    assert served == {"greedy", "a", "b", "c"}


def test_a_pool_without_a_token_makes_no_call_and_says_so() -> None:
    world = World(Settings(ec2_bucket=1, ec2_refill_per_second=0.1))
    for name in ("one", "two"):
        world.apply(pool(name))
        world.enqueue(1, name)
        world.run(name)
    assert len(world.ec2.fleets) == 1
    assert world.reasons("two") == [("throttling", "RequestRateShared")]
    assert world.under(keys.INTENT_PREFIX, "two") == []
    assert world.state("two")["gsk"] > world.state("two")["reasons"][0]["since"]
    world.advance(60)
    world.run("two")
    assert len(world.ec2.fleets) == 2


def test_the_share_divides_the_rate() -> None:
    world = World()
    bucket = RequestBucket(world.table, Settings(ec2_request_share=0.4), world.clock)
    taken = [bucket.take(f"pool-{n}", replaces=False) is None for n in range(6)]
    assert taken.count(True) == 2


def test_an_emptied_bucket_gives_nothing_until_it_has_grown() -> None:
    world = World()
    bucket = RequestBucket(world.table, Settings(), world.clock)
    bucket.emptied()
    assert bucket.take("cpu", replaces=False) is not None
    world.advance(2)
    assert bucket.take("cpu", replaces=False) is None


def test_functions_that_take_turns_about_it_give_no_token_twice() -> None:
    """Each has its own memory of the bucket, which the others' calls make old."""
    world = World()
    buckets = [RequestBucket(world.table, Settings(), world.clock) for _ in range(3)]
    given_out = 0
    for call in range(60):
        world.advance(0.1)
        given_out += buckets[call % 3].take(f"pool-{call % 3}", replaces=False) is None
    assert 16 <= given_out <= 17, "a burst of 5, and 2 a second for 6 s"


def test_who_wrote_last_asks_nobody_what_there_is() -> None:
    world, calls = World(), Counted()
    bucket = RequestBucket(world.table, Settings(), world.clock)
    bucket.take("cpu", replaces=False)
    world.hook(calls)
    bucket.take("cpu", replaces=False)
    assert calls == {"dynamodb.put_item": 1}
    RequestBucket(world.table, Settings(), world.clock).take("gpu", replaces=False)
    calls.clear()
    bucket.take("cpu", replaces=False)
    assert calls == {"dynamodb.put_item": 2}, "it is told with the refusal what another has written"


@pytest.mark.parametrize("fault", [Unavailable("the answer was lost"), Killed("in the middle")], ids=["lost", "killed"])
def test_a_call_whose_answer_nobody_heard_costs_its_token_and_no_other(fault: BaseException) -> None:
    class Unheard(Counted):
        def after(self, operation: str, request: Request, response: Response) -> None:
            raise fault

    world = World()
    bucket = RequestBucket(world.table, Settings(), world.clock)
    bucket.take("first", replaces=False)
    world.hook(Unheard())
    with pytest.raises(type(fault)):
        bucket.take("second", replaces=False)
    world.hook(None)
    taken = [bucket.take(f"pool-{number}", replaces=False) is None for number in range(5)]
    assert taken.count(True) == 3, "a burst of 5, of which two are gone"


def test_two_hundred_pools_in_the_same_minute_use_the_whole_rate() -> None:
    """Burst 5, 2 a second: 200 calls take 97.5 s at best. In virtual time, passes themselves taking none."""
    world = World()
    pools = [f"p{number:03d}" for number in range(200)]
    for name in pools:
        world.apply(pool(name, max_instances=1))
        world.enqueue(1, name)
    start = world.clock()
    for name in pools:
        world.run(name)
    while len(world.ec2.fleets) < 200:
        if not delivered(world):
            world.advance(60 - (world.clock() - start).total_seconds() % 60)
            for name in pools:
                world.run(name)
    assert 97 <= (world.clock() - start).total_seconds() <= 100
    assert len({fleet["TagSpecifications"][1]["Tags"][1]["Value"] for fleet in world.ec2.fleets}) == 200


def delivered(world: World) -> bool:
    """One message of the reconcile queue, taken as its function does; False: there is none."""
    messages = world.sqs.receive_message(QueueUrl=world.queue, MaxNumberOfMessages=1).get("Messages", [])
    for message in messages:
        world.passes().take(message["Body"], lambda: timedelta(seconds=100))
        world.sqs.delete_message(QueueUrl=world.queue, ReceiptHandle=message["ReceiptHandle"])
    return bool(messages)


def test_who_made_no_call_wakes_nobody() -> None:
    world = World()
    for name in ("a", "b"):
        world.apply(pool(name))
        world.enqueue(1, name)
    world.reconciler().launcher.bucket.emptied()
    world.run("a")
    world.run("b")
    assert not delivered(world)
    assert world.reasons("a") == [("throttling", "RequestRateShared")]
