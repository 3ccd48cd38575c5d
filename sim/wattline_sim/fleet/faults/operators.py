"""Operators and users at any time: budgets, nodes, jobs, and requests that make no sense."""

import math
from typing import TYPE_CHECKING

from wattline_protocol.ids import DomainId, JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.wire.client_messages import (
    Cancel,
    DeclareOff,
    DeclareOn,
    Drain,
    Hold,
    Release,
    Request,
    Requeue,
    Restore,
    Shed,
    Undrain,
    Update,
)
from wattline_scheduler.records import AttemptRecord

if TYPE_CHECKING:
    from wattline_sim.fleet.faults.schedule import Faults


def _some_domain(faults: "Faults") -> DomainId:
    return faults.rng.choice(faults.site.site.domains).id


def _some_job(faults: "Faults") -> JobId:
    return faults.rng.choice([*sorted(faults.site.accepted), JobId(999)])


def _shed(faults: "Faults") -> str:
    domain, rng = _some_domain(faults), faults.rng
    fraction = rng.choice([rng.uniform(0.01, 0.5), rng.uniform(0.5, 1.0)])
    for_s = rng.choice([0.0, rng.uniform(0.5, 20.0)])
    ramp_s = rng.choice([0.0, 0.0, for_s / 2 or rng.uniform(0.5, 20.0)])
    release_s = rng.choice([0.0, rng.uniform(0.5, 20.0)])
    request = Shed(
        domain,
        fraction=fraction,
        for_s=for_s,
        reason="fault",
        ramp_s=ramp_s,
        release_s=release_s,
    )
    faults.site.order(request)
    faults.lasting(2.0, 30.0, lambda: faults.site.insist(Restore(domain, reason="over")))
    return f"{fraction:.0%} of {domain}"


def _restore(faults: "Faults") -> str:
    domain = _some_domain(faults)
    faults.site.order(Restore(domain, ramp_s=faults.rng.choice([0.0, 10.0])))
    return domain


def _drain(faults: "Faults") -> str:
    node = faults.some_node()
    faults.site.order(Drain(node, reason="fault"))
    faults.lasting(1.0, 30.0, lambda: faults.site.insist(Undrain(node)))
    return node


def _cancel(faults: "Faults") -> str:
    job = _some_job(faults)
    faults.site.order(Cancel(only(job)))
    return f"job {job}"


def _hold(faults: "Faults") -> str:
    job = _some_job(faults)
    faults.site.order(Hold(only(job)))
    faults.lasting(1.0, 30.0, lambda: faults.site.insist(Release(only(job))))
    return f"job {job}"


def _requeue(faults: "Faults") -> str:
    job, rng = _some_job(faults), faults.rng
    request = Requeue(only(job), f"requeue-{rng.getrandbits(32)}")
    for _ in range(rng.choice([1, 1, 2])):  # a client that repeats itself
        faults.site.order(request)
    return f"job {job}"


def _update(faults: "Faults") -> str:
    job, rng = _some_job(faults), faults.rng
    changes: dict[str, str | int | float | bool | tuple[str, ...]] = rng.choice(
        [
            {"priority": rng.randint(0, 100)},
            {"account": rng.choice(["vision", "speech"])},
            {"retries": rng.randint(0, 2), "grace": f"{rng.randint(1, 9)}s"},
            {"nodes": rng.randint(1, 2)},
            {"no-such-key": 1},
        ]
    )
    faults.site.order(Update(only(job), changes))
    return f"job {job}: {changes}"


def _move(faults: "Faults") -> str:
    """Work that runs is to count elsewhere, whatever is held there."""
    rng, tries = faults.rng, faults.site.scheduler.disk.every(AttemptRecord)
    running = sorted({one.job for one in tries if one.ended_unix_s is None})
    if not running or not faults.site.site.queues:
        return "nothing runs, or there is nowhere else"
    job = rng.choice(running)
    where: dict[str, str | int | float | bool | tuple[str, ...]] = rng.choice(
        [{"account": rng.choice(["lab", "vision"])}, {"queue": rng.choice(["small", "cool"])}]
    )
    faults.site.order(Update(only(job), where))
    return f"job {job}: {where}"


def _nonsense(faults: "Faults") -> str:
    node, domain, nowhere = faults.some_node(), _some_domain(faults), DomainId("nowhere")
    requests: list[Request] = [
        Shed(domain, fraction=math.nan),
        Shed(domain, fraction=-0.5),
        Shed(domain, fraction=7.0),
        Shed(domain, by_mw=1 << 60),
        Shed(domain, fraction=0.5, for_s=math.inf),
        Shed(domain, fraction=0.5, ramp_s=math.nan),
        Shed(domain, fraction=0.5, release_s=-1.0),
        Restore(domain, ramp_s=math.inf),
        Shed(nowhere, fraction=0.5),
        Restore(nowhere),
        Undrain(node),
        DeclareOff(node, confirmation="yes"),
        DeclareOff(NodeId("nobody"), confirmation="nobody"),
        DeclareOn(NodeId("nobody")),
        Release(only(JobId(-1))),
    ]
    request = faults.rng.choice(requests)
    faults.site.order(request)
    return str(request)


KINDS = {
    "shed": _shed,
    "restore": _restore,
    "drain": _drain,
    "cancel": _cancel,
    "hold": _hold,
    "requeue": _requeue,
    "update": _update,
    "move": _move,
    "nonsense request": _nonsense,
}
