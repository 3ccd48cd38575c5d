"""Users and services: the jobs of a population, each submitted at its time."""

import math
from functools import partial

from wattline_protocol.job.spec import (
    PRIORITIES,
    JobKind,
    JobSpec,
    Recovery,
    Resources,
    ServiceSpec,
)
from wattline_protocol.wire.client_messages import Submit
from wattline_sim.facility import keeper
from wattline_sim.facility.plant.population import Arrival, Population
from wattline_sim.facility.scheduler_host import Office
from wattline_sim.fleet.world import World

TRAINING = frozenset({"pretraining", "finetuning", "light-training"})
"""Kinds of work that the job file calls training; those without an end are services."""
RETRIES = 9


class Crowd:
    """Submits for one run."""

    def __init__(self, world: World, office: Office, per_node: int) -> None:
        self._world, self._office, self._per_node = world, office, per_node
        self._count = 0

    def begin(self, population: Population, fleet_gpus: int, duration_s: float) -> None:
        """Everything the fleet is offered from now on; some of it at once."""
        for arrival in population.jobs(fleet_gpus, duration_s):
            self._world.after(arrival.at_s, partial(self._submit, arrival))

    def _submit(self, arrival: Arrival) -> None:
        self._count += 1
        spec = job_of(arrival, self._per_node, self._count)
        self._office.ask(Submit(spec, f"token-{self._count}"))


def job_of(arrival: Arrival, per_node: int, number: int) -> JobSpec:
    """The job file of an arrival. Gangs larger than a node take whole nodes."""
    nodes = -(-arrival.gpus // per_node)
    is_service = math.isinf(arrival.work_s)
    kind: JobKind = "training" if arrival.kind in TRAINING else "batch"
    priority = PRIORITIES["high" if arrival.is_high else "low"]
    env = {
        keeper.WORKLOAD: arrival.kind,
        keeper.GANG_NODES: str(nodes),
        keeper.PRIORITY: str(priority),
        keeper.SEED: str(arrival.seed),
    }
    if not is_service:
        env[keeper.WORK_S] = f"{max(arrival.work_s, 1.0):.1f}"
    return JobSpec(
        name=f"{arrival.kind}-{number}",
        command=(arrival.kind,),
        kind="service" if is_service else kind,
        priority=priority,
        service=ServiceSpec(replicas=1) if is_service else None,
        resources=Resources(nodes=nodes, gpus_per_node=arrival.gpus // nodes),
        recovery=Recovery(retries=RETRIES),
        env=env,
    )
