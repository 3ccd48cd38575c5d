"""A job of the fleet while it waits or runs, in the planner's words."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

from wattline_lab.replay.fleet.inventory import MODELS
from wattline_lab.replay.fleet.mixing import Asked
from wattline_lab.replay.jobs.run import Run
from wattline_protocol.ids import Instant, JobId
from wattline_protocol.job.spec import JobSpec, Resources
from wattline_scheduler.plan.model.shape import Shape, Waiting, shape_of
from wattline_scheduler.plan.model.snapshot import TaskPlace
from wattline_scheduler.power.demand.models import node_model
from wattline_scheduler.power.demand.useful_cap import Need

NEVER_CAPPED = Need(min_performance_permille=1000)
"""Counted at the GPU's maximum, as where a power budget is one more number to be used up."""

DRAW_PERMILLE = {
    "vgg16": 850,
    "resnet101": 850,
    "inception_v3": 850,
    "alexnet": 600,
    "mobilenet_v2": 600,
}
"""Uncapped draw by the model that is trained, of the GPU's maximum: as measured of ResNet and of
small networks by Zeus (NSDI 2023)."""

DRAW_UNKNOWN_PERMILLE = 750

MAX_SHAPES = 4096

Kind = tuple[str, str, str]
"""What is known to be alike: account, what is trained, GPU model."""


@dataclass(slots=True, eq=False)
class Gang:
    """One job: what it asks for, and where it is."""

    asked: Asked
    run: Run
    shape: Shape
    demand_mw: int
    """Of each GPU, uncapped. No policy knows it before a job of the kind has run."""
    runs_s: float | None = None
    """How long it runs at most, by the newest of its kind."""
    waiting: Waiting | None = None
    places: tuple[TaskPlace, ...] = ()
    start_s: float = 0.0
    slot: int = -1
    """Among those that run."""
    nodes: list[int] = field(default_factory=list)
    """Positions of its nodes."""

    @property
    def kind(self) -> Kind:
        """Of what it would be known."""
        job = self.asked.job
        return job.account, job.kind, self.asked.model

    @property
    def gpus(self) -> int:
        return self.asked.job.gpus

    @property
    def wanted_mw(self) -> float:
        """What it would draw more at the wall than its GPUs do while they are idle, uncapped."""
        model = MODELS[self.asked.model]
        rise_mw = self.demand_mw - model.idle_w * 1000
        return self.gpus * rise_mw / node_model(model.driver_name).psu_efficiency

    @property
    def size(self) -> str:
        """Jobs of one size may take as long as others of it."""
        return f"{self.asked.job.account} {self.asked.job.kind} {self.gpus}"

    def in_queue(self) -> Waiting:
        """As the planner sees it."""
        if self.waiting is None:
            job = self.asked.job
            self.waiting = Waiting(
                job=JobId(job.id),
                priority=self.shape.priority,
                since=Instant(job.submit_s),
                shape=self.shape,
                gangs=(0,),
                runs_s=self.runs_s,
            )
        return self.waiting


def gang_of(asked: Asked, need: Need) -> Gang:
    """A job that was just submitted."""
    model = MODELS[asked.model]
    draw = DRAW_PERMILLE.get(asked.job.kind, DRAW_UNKNOWN_PERMILLE)
    demand_mw = max(model.cap_min_w, model.cap_max_w * draw // 1000) * 1000
    shape = _shape(asked.tasks, asked.gpus_per_task, model.driver_name, need)
    return Gang(asked, Run(asked.job, asked.job.steps), shape, demand_mw)


@lru_cache(maxsize=MAX_SHAPES)
def _shape(tasks: int, gpus: int, gpu_type: str, need: Need) -> Shape:
    """Equal ones are the same one: they are compared at a glance."""
    resources = Resources(nodes=tasks, gpus_per_node=gpus, gpu_type=(gpu_type,))
    return replace(shape_of(JobSpec("replayed", ("true",), resources=resources)), need=need)
