"""A random small site and random jobs for it, from the seed alone."""

import random

from msgspec.structs import replace

from wattline_protocol.ids import DomainId, NodeId
from wattline_protocol.job.spec import (
    PRIORITIES,
    ArraySpec,
    CountRange,
    JobSpec,
    Launch,
    Limits,
    Recovery,
    Resources,
    ServiceSpec,
)
from wattline_protocol.site.model import Domain, DomainKind, InputShare, Node, Site, Timing
from wattline_protocol.site.wall_power import PERMILLE, wall_mw
from wattline_sim.fleet.hardware import (
    CAP_MAX_MW,
    SIM_DEMAND_MW,
    SIM_EXIT,
    SIM_SAVES_S,
    SIM_SECONDS,
)

W = 1000
NON_GPU_MW = 1_900 * W
EFFICIENCY_PERMILLE = 940
GPUS_PER_NODE = 4
KNEE_MW = CAP_MAX_MW // 2
"""A job that says nothing else is placed with so much for a whole GPU, or more (docs/power.md)."""
SHARING = 0.3
"""So many of the jobs ask for a part of a GPU."""
SAVING = 0.3
"""So many of the runs have jobs that save checkpoints."""
ELASTIC_S = "45"
"""Work of a gang with a range of nodes: others end before it, so that it grows."""
TASK_LEASE_S = 20.0
"""Short, so that its end is reached within a run."""


def nameplate_mw() -> int:
    """All GPUs at their maximum, with the overshoot the agent assumes, behind the supplies."""
    return wall_mw(NON_GPU_MW + GPUS_PER_NODE * CAP_MAX_MW * 1050 // 1000, EFFICIENCY_PERMILLE)


def idle_mw() -> int:
    """No GPU busy."""
    return wall_mw(NON_GPU_MW + GPUS_PER_NODE * 100 * W, EFFICIENCY_PERMILLE)


def gang_mw() -> int:
    """What the largest job (two nodes, every GPU at the knee) needs on top of idle nodes."""
    return wall_mw(2 * GPUS_PER_NODE * 400 * W, EFFICIENCY_PERMILLE)


def random_site(rng: random.Random) -> Site:
    """2-5 nodes in up to two racks, some with redundant feeds, budgets that bind."""
    count = rng.randint(2, 5)
    nodes = tuple(_node(rng, i) for i in range(count))
    per_rack = {rack: sum(n.rack == rack for n in nodes) for rack in ("r1", "r2")}
    # Budgets bind, but any one job fits: what waits for ever would be no failure of the site.
    rack_mw = {
        r: n * idle_mw() + int(gang_mw() * rng.uniform(1.0, 1.6)) for r, n in per_rack.items()
    }
    whole_mw = count * idle_mw() + int(gang_mw() * rng.uniform(1.0, 2.0))
    domains = [
        _domain("site", "power", None, whole_mw),
        _domain("rack-r1", "power", "site", rack_mw["r1"]),
        _domain("rack-r2", "power", "site", rack_mw["r2"]),
        _domain("feed-b", "power", None, int(whole_mw * rng.uniform(1.0, 1.3))),
        _domain("room", "cooling", None, int(whole_mw * rng.uniform(1.0, 1.3))),
    ]
    return Site(
        name="fleet",
        agent_endpoint="sim://agents",
        client_endpoint="sim://clients",
        checkpoint_root="/mnt/checkpoints",
        domains=tuple(domains),
        nodes=nodes,
        timing=Timing(
            isolation_after_s=5.0,
            isolation="floor" if rng.random() < 0.3 else "keep",
            task_lease_s=TASK_LEASE_S,
        ),
    )


def random_jobs(
    rng: random.Random, count: int, elastic: random.Random, saves: random.Random
) -> list[JobSpec]:
    """Batch, arrays, gangs of two and services, of all priorities; some fail.

    `elastic` draws which gangs have a range of nodes, `saves` whether there are jobs that save
    checkpoints, and which: the others are those of `rng` alone.
    """
    jobs = [_elastic(elastic, _job(rng, at)) for at in range(count)]
    if saves.random() < SAVING:
        jobs = [_saving(saves, job) for job in jobs]
    return jobs


def _saving(rng: random.Random, job: JobSpec) -> JobSpec:
    """Nothing is said of isolation: it waits for its node until it has saved. It works for longer
    than a task lease lasts: what ends by itself before shows nothing."""
    if job.kind == "service" or rng.random() < 0.3:
        return job
    work_s = rng.uniform(TASK_LEASE_S, 3 * TASK_LEASE_S)
    env = {**job.env, SIM_SECONDS: f"{work_s:.2f}", SIM_SAVES_S: f"{rng.uniform(0.0, 4.0):.2f}"}
    return replace(job, recovery=replace(job.recovery, on_isolation=""), env=env)


def _elastic(rng: random.Random, job: JobSpec) -> JobSpec:
    if job.resources.most_nodes == 1 or rng.random() < 0.6:
        return job
    resources = replace(job.resources, nodes=CountRange(rng.randint(1, 2), rng.randint(3, 4)))
    launch, env = Launch(settle_s=rng.uniform(1.0, 8.0)), {**job.env, SIM_SECONDS: ELASTIC_S}
    return replace(job, resources=resources, launch=launch, env=env)


def _node(rng: random.Random, at: int) -> Node:
    rack = "r1" if at % 2 == 0 else "r2"
    inputs = [DomainId(f"rack-{rack}")]
    shares: tuple[InputShare, ...] = ()
    if rng.random() < 0.4:
        inputs.append(DomainId("feed-b"))
        first = rng.randint(300, 700)
        if rng.random() < 0.5:
            shares = (InputShare(first), InputShare(PERMILLE - first))
    return Node(
        id=NodeId(f"n{at}"),
        rack=rack,
        inputs=tuple(inputs),
        shares=shares,
        cooling_zone=DomainId("room"),
        non_gpu_worst_mw=NON_GPU_MW,
        psu_efficiency_permille=EFFICIENCY_PERMILLE,
        nameplate_mw=nameplate_mw(),
    )


def _domain(name: str, kind: DomainKind, parent: str | None, budget_mw: int) -> Domain:
    return Domain(
        id=DomainId(name),
        kind=kind,
        parent=DomainId(parent) if parent else None,
        rating_mw=budget_mw,
        derate_permille=1000,
    )


def _job(rng: random.Random, at: int) -> JobSpec:
    shape = rng.choice(["batch", "batch", "array", "gang", "service"])
    nodes = 2 if shape == "gang" else 1
    on_isolation = rng.choice(["continue", "stop"])
    fails = shape != "service" and rng.random() < 0.15
    return JobSpec(
        name=f"{shape}-{at}",
        command=("work",),
        kind="service" if shape == "service" else "training" if shape == "gang" else "batch",
        priority=rng.choice([*PRIORITIES.values(), rng.randint(0, 100)]),
        array=ArraySpec(tuple(range(rng.randint(2, 5))), rng.choice([0, 2]))
        if shape == "array"
        else None,
        service=ServiceSpec(replicas=rng.randint(1, 2)) if shape == "service" else None,
        resources=_resources(rng, nodes),
        limits=Limits(runtime_s=rng.choice([0.0, 0.0, 6.0])) if shape == "batch" else Limits(),
        recovery=Recovery(
            retries=rng.randint(0, 2),
            grace_s=2.0,
            on_isolation="stop" if on_isolation == "stop" else "continue",
        ),
        env={
            SIM_SECONDS: f"{rng.uniform(0.5, 15.0):.2f}",
            SIM_EXIT: "1" if fails else "0",
            SIM_DEMAND_MW: str(rng.randint(150, 700) * W),
        },
    )


def _resources(rng: random.Random, nodes: int) -> Resources:
    """Whole GPUs, or a part of one."""
    if rng.random() < SHARING:
        return Resources(nodes=nodes, gpu_share_permille=rng.choice([200, 500, 700]))
    return Resources(nodes=nodes, gpus_per_node=rng.randint(1, GPUS_PER_NODE))
