"""One run: a stage, requests, and what scales the service."""

from dataclasses import dataclass
from typing import Protocol

from wattline_scheduler.power.scaling.service_load import Load
from wattline_sim.facility.building import Building
from wattline_sim.service.gateway import Gateway
from wattline_sim.service.requests import Requests
from wattline_sim.service.stage import STEP_S, Stage

STEPS_A_SECOND = round(1.0 / STEP_S)


class Scaling(Protocol):
    """A way to scale the service."""

    name: str

    def begin(self, stage: Stage) -> None:
        """Before the first step."""

    def step(self, stage: Stage) -> None:
        """Before each step."""

    def rise(self, stage: Stage, more: float) -> None:
        """After a step whose load was so much work a second above the usual one."""

    def second(self, stage: Stage, load: Load) -> None:
        """After each second, with what was measured in it."""


@dataclass(slots=True)
class Run:
    """A run, step by step."""

    stage: Stage
    gateway: Gateway
    scaling: Scaling
    budget_w: float
    steps: int = 0

    def step(self) -> None:
        """One step; the last one of a second ends with a decision."""
        self.steps += 1
        self.scaling.step(self.stage)
        self.gateway.arrive(self.stage.now_s + STEP_S)
        self.stage.step()
        if self.gateway.rise:
            self.scaling.rise(self.stage, self.gateway.rise)
        if self.steps % STEPS_A_SECOND == 0:
            self.scaling.second(self.stage, self.gateway.second(self.stage.now_s))

    @property
    def is_over_feed(self) -> bool:
        """Whether the feed draws more than its budget, as a mean of the last steps."""
        return float(self.stage.plant.domain_wall_avg_1s_w[0]) > self.budget_w


def begun(building: Building, requests: Requests, seed: int, scaling: Scaling, count: int) -> Run:
    """A run with that many ready replicas."""
    stage = Stage(building, requests, seed)
    stage.begin_with(count)
    scaling.begin(stage)
    budget_w = next(d.budget_mw for d in building.site.domains if d.id == building.top) / 1e3
    return Run(stage, Gateway(requests, stage.replicas), scaling, budget_w)
