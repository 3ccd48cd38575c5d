"""Schema of the fitted constants in constants.toml, validated on reading."""

from typing import Annotated, Literal

import msgspec

from wattline_scheduler.power.demand.models.curves import Curve

Phase = Literal["training_hot", "training_light", "prefill", "decode"]

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class CurveFit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Constants of one curve and their fit errors. Errors are in performance (1 = uncapped)."""

    gpu: str
    phase: Phase
    bend: Annotated[float, msgspec.Meta(gt=0.0)]
    order: Annotated[float, msgspec.Meta(ge=1.0)]
    knee: Share
    lowest: Share
    """Lowest measured cap/demand (5 % quantile); below it the curve extrapolates."""
    points: int
    jobs: int
    rmse: float
    rmse_unseen: float
    """Error of each job kind, fitted on the others alone."""
    rmse_by_tdp: float
    """The same form with cap / TDP in place of cap / demand; for comparison."""
    source: str
    note: str = ""

    @property
    def curve(self) -> Curve:
        """The curve for the scheduler and the simulator."""
        return Curve(self.bend, self.order, round(self.knee * 1000))


class Nearest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A GPU type and phase without data of its own, and the fitted curve used instead."""

    gpu: str
    phase: Phase
    use_gpu: str
    use_phase: Phase
    why: str


class NodeModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """wall = (base + CPU + sum of GPUs) / efficiency of one kind of server."""

    gpu: str
    gpus: int
    base_w: float
    """Fans, memory, boards, drives and idle CPUs, before the power supplies."""
    cpu_w: float
    """Additional CPU draw while the GPUs are busy."""
    psu_efficiency: Share
    """Losses of the power supplies and of fans that speed up with the load."""
    idle_wall_w: float
    source: str
    note: str
    mape_pct: float | None = None
    """Mean absolute error over all seconds of the measured windows; None = not validated."""
    mape_unseen_pct: float | None = None
    """The same, each benchmark predicted from the others."""
    runs: int = 0
    seconds: int = 0


class Draw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Uncapped draw of one GPU while serving, as shares of its TDP, over configurations."""

    gpu: str
    work: str
    p05: float
    p50: float
    p95: float
    configurations: int
    source: str


class Fitted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The complete output of the fit script."""

    curve: tuple[CurveFit, ...]
    nearest: tuple[Nearest, ...]
    node: tuple[NodeModel, ...]
    draw: tuple[Draw, ...]

    def curve_of(self, gpu: str, phase: Phase) -> CurveFit:
        """The fit for a GPU class and phase, or its substitute.

        Raises KeyError where the constants cover neither.
        """
        for fit in self.curve:
            if (fit.gpu, fit.phase) == (gpu, phase):
                return fit
        for near in self.nearest:
            if (near.gpu, near.phase) == (gpu, phase):
                return self.curve_of(near.use_gpu, near.use_phase)
        raise KeyError(f"no fitted curve for {gpu} {phase}, nor one that stands in for it")


def parse_constants(text: str) -> Fitted:
    """Parse constants.toml. Raises msgspec.ValidationError naming the invalid key."""
    return msgspec.toml.decode(text, type=Fitted)
