"""Priority classes: order in the queue, admission, and what a full queue refuses."""

from hashlib import sha256
from typing import Any

import pytest

from support.programs.serving import GatewayBench
from wattline_protocol.wire.api_keys import ApiKeyGrant, PriorityClass
from wattline_runtime.gateway.access.key_ring import ApiKey, ApiKeyRing
from wattline_runtime.gateway.access.priority import rank_of
from wattline_runtime.gateway.errors import BadRequest
from wattline_runtime.gateway.events import NORMAL, PRIORITIES


def busy(queue_limit: int = 10, **beat: Any) -> GatewayBench:
    """A service with one worker, whose only slot request 1 has."""
    bench = GatewayBench(queue_limit).routes(1).worker(1, capacity=1, **beat)
    return bench.submit(1)


def test_urgent_goes_before_normal_before_batch_and_each_by_arrival() -> None:
    bench = busy()
    bench.submit(2, 3, priority="batch").submit(4, 5).submit(6, 7, priority="urgent")
    for number in (1, 6, 7, 4, 5, 2, 3):
        bench.reply(1, number)
    assert bench.inferred(1) == [1, 6, 7, 4, 5, 2, 3]
    assert set(bench.outcomes.values()) == {"out"}


def test_a_batch_request_that_is_overtaken_ends_at_its_deadline() -> None:
    bench = busy().submit(2, priority="batch", within_s=3.0)
    for number in range(1, 40, 2):
        bench.submit(number + 2, priority="urgent").later(0.2).reply(1, number).worker(
            1, capacity=1
        )
    assert bench.outcomes[2] == "deadline"
    assert bench.now_s >= 103.0


def test_what_a_lost_worker_had_is_retried_in_its_class() -> None:
    bench = GatewayBench(10).routes(1, 2).worker(1, capacity=1).worker(2, capacity=1)
    bench.submit(1, priority="batch").submit(2).submit(3, priority="batch").submit(4)
    bench.worker(1, capacity=1, is_draining=True)  # its request goes on there
    assert bench.inferred(1) + bench.inferred(2) == [1, 2]
    bench.reply(2, 2)
    assert bench.inferred(2) == [2, 4]


def test_admission_counts_only_what_goes_before() -> None:
    """A batch of one takes 1 s: five wait."""
    bench = busy(batch_s=1.0, lone_s=1.0)
    bench.submit(2, 3, 4, 5, 6, priority="batch", within_s=30.0)
    bench.submit(7, within_s=4.0, priority="batch")
    bench.submit(8, within_s=4.0)
    bench.submit(9, within_s=4.0, priority="urgent")
    assert bench.outcomes == {7: "too_slow"}
    bench.reply(1, 1)
    assert bench.inferred(1) == [1, 9]


def test_batch_is_refused_first_under_overload() -> None:
    """The same wait is within 80 % of the time left, and above half of it."""
    bench = busy(batch_s=1.0, lone_s=1.0).submit(2, within_s=30.0)
    bench.submit(3, within_s=4.5, priority="batch").submit(4, within_s=4.5)
    assert bench.outcomes == {3: "too_slow"}


def test_a_full_queue_refuses_its_newest_request_of_the_lowest_class() -> None:
    bench = busy(queue_limit=3).submit(2, 3, priority="batch").submit(4)
    bench.submit(5, priority="batch")
    assert bench.outcomes == {5: "queue_full"}
    bench.submit(6, priority="urgent")
    assert bench.outcomes == {5: "queue_full", 3: "queue_full"}
    bench.submit(7)
    assert bench.outcomes[2] == "queue_full"
    bench.submit(8, priority="urgent")
    assert bench.outcomes[7] == "queue_full"
    bench.submit(9)
    assert bench.outcomes[9] == "queue_full"
    bench.submit(10, priority="urgent").submit(11, priority="urgent")
    assert bench.outcomes[4] == bench.outcomes[11] == "queue_full"
    for number in (1, 6, 8, 10):
        bench.reply(1, number)
    assert bench.inferred(1) == [1, 6, 8, 10]


def test_a_better_request_refuses_one_of_a_queue_that_a_stalled_worker_has_overfilled() -> None:
    """Each in a call of its own ended in a RecursionError, and those refused had no answer."""
    bench = GatewayBench(queue_limit=3).routes(1, 2).worker(1, capacity=40)
    bench.submit(*range(40), within_s=30.0, priority="batch")
    bench.worker(2, capacity=1)
    waiting = bench.gateway.queue.services["svc"].waiting
    while not waiting:
        bench.worker(1, capacity=40).worker(2, capacity=1).later(0.5)
    assert (len(waiting), bench.outcomes) == (39, {})
    bench.submit(50, within_s=100.0, priority="urgent")
    assert bench.outcomes == {39: "queue_full"}
    assert len(waiting) == 39


# --- the class of a request


def held(priority: PriorityClass) -> ApiKey:
    ring = ApiKeyRing(60.0)
    secret = b"wl_key"
    digest = sha256(secret).hexdigest()
    ring.learn((ApiKeyGrant("k", digest, ("svc",), priority=priority),), 0.0)
    key = ring.find(secret, 0.0)
    assert key is not None
    return key


@pytest.mark.parametrize(
    ("asked", "allowed", "given"),
    [
        (None, "normal", "normal"),
        (None, "urgent", "normal"),
        (None, "batch", "batch"),
        ("urgent", "urgent", "urgent"),
        ("urgent", "normal", "normal"),
        ("normal", "batch", "batch"),
        ("batch", "urgent", "batch"),
    ],
)
def test_the_header_is_bounded_by_the_key(
    asked: str | None, allowed: PriorityClass, given: str
) -> None:
    headers = [] if asked is None else [(b"wattline-priority", asked.encode())]
    assert PRIORITIES[rank_of({"headers": headers}, held(allowed))] == given


def test_an_open_gateway_allows_every_class_and_no_other_word() -> None:
    assert rank_of({"headers": []}, None) == NORMAL
    assert rank_of({"headers": [(b"wattline-priority", b"urgent")]}, None) == 0
    with pytest.raises(BadRequest, match="none of urgent, normal, batch"):
        rank_of({"headers": [(b"wattline-priority", b"high")]}, None)
