"""Honest clients are never slowed or blocked, whatever their service and other clients do."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.site.model import Abuse
from wattline_runtime.gateway.access.conduct import (
    REMEMBERED_S,
    STEP_S,
    STEPS_OF_WINDOW,
    Conduct,
    judge,
)

LIMITS = Abuse()
SERVICES = ("a", "b")
HONEST_SHARE = 0.2
"""Of an honest client's requests that fail by its own fault: mistakes happen to all."""
FAULTS = ("malformed", "bad_input", "body_too_large", "rate_limited", "forbidden", "poison")
ATTACKS = st.tuples(st.sampled_from(SERVICES), st.integers(0, 60), st.sampled_from(FAULTS))


@dataclass
class Step:
    """What happens in some seconds."""

    broken: dict[str, float]
    """Share of all requests that the model of a service refuses, good ones too."""
    overloaded: dict[str, float]
    """Share that is refused for lack of workers."""
    honest: list[tuple[str, int]]
    """Service and requests of each honest client."""
    attacks: list[tuple[str, int, str]]


SHARES = st.fixed_dictionaries({name: st.sampled_from([0.0, 0.0, 0.3, 1.0]) for name in SERVICES})
STEPS = st.builds(
    Step,
    SHARES,
    SHARES,
    st.lists(st.tuples(st.sampled_from(SERVICES), st.integers(0, 60)), min_size=4, max_size=4),
    st.lists(ATTACKS, max_size=1),
)


def run(one: Conduct, step: Step, service: str, count: int, fault: str, own_share: float) -> None:
    """Requests of a client; what the service refuses or cannot take is spread evenly."""
    refused = overloaded = spoiled = 0.0
    for number in range(count):
        overloaded += step.overloaded[service]
        spoiled += own_share
        refused += step.broken[service]
        body = f"{id(one)} {number}".encode()
        if spoiled >= 1:
            spoiled -= 1
            one.failed(service, fault, body, "")
        elif overloaded >= 1:
            overloaded -= 1
            one.failed(service, "too_slow", body, "")
        elif refused >= 1:
            refused -= 1
            one.failed(service, "bad_input", b"the same input, tried again", "")
        else:
            one.answered(service)


@given(st.lists(STEPS, min_size=1, max_size=2 * STEPS_OF_WINDOW))
def test_honest_clients_are_never_restrained(steps: list[Step]) -> None:
    honest, abusive = [Conduct() for _ in range(4)], Conduct()
    now_s = 1.7e9
    for number, step in enumerate(steps):
        now_s += STEP_S
        for one, (service, count) in zip(honest, step.honest, strict=True):
            run(one, step, service, count, "malformed", HONEST_SHARE)
        for service, count, fault in step.attacks:
            run(abusive, step, service, count, fault, 1.0)
        active = [one for one in (*honest, abusive) if one.step]
        judge(active, LIMITS, now_s, number // STEPS_OF_WINDOW)
        assert not any(one.restrained_until_s for one in honest)


@given(st.sampled_from(FAULTS), st.integers(25, 100), st.integers(3, 100))
def test_one_that_spoils_all_of_its_requests_is_blocked(
    fault: str, count: int, others: int
) -> None:
    """Beside one honest client of the same service, where the model has to judge."""
    abusive, honest = Conduct(), Conduct()
    healthy = Step({"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 0.0}, [], [])
    now_s, blocked = 1.7e9, False
    for number in range(int(REMEMBERED_S / STEP_S)):
        now_s += STEP_S
        run(abusive, healthy, "a", count, fault, 1.0)
        abusive.inputs += count  # of a key without a rate: none could be admitted
        run(honest, healthy, "a", max(others, 10), "", 0.0)
        judge([abusive, honest], LIMITS, now_s, number // STEPS_OF_WINDOW)
        blocked = blocked or abusive.blocked_until_s > now_s
    assert blocked
    assert not honest.restrained_until_s
