"""Fixed services for screens: one that scales and burns, one of a fixed number, one asleep."""

from wattline_protocol.ids import JobId
from wattline_protocol.views.service_views import (
    EnergyView,
    ReplicasView,
    Services,
    ServiceView,
    SloView,
    WattsView,
    WorkerView,
)

ENERGY = EnergyView(3_600.0, 712_000.0, 96_000.0, 61_200, 0, 11_634.0, 13_203.0, None, 0.00055)


def services_now() -> Services:
    """By name."""
    return Services((_chat(), _digits(), _night()))


def _chat() -> ServiceView:
    why = "load 412/s needs 0.81 of what 2 replicas do, above 0.72"
    return ServiceView(
        name="chat",
        owner="ada",
        revision=JobId(1),
        replicas=ReplicasView(2, 8, 3, 2, why),
        workers=(
            WorkerView("1.0#1", "gpu-01", "ready", 14, 0.021, joules=1_830_000.0),
            WorkerView("1.1#1", "gpu-02", "ready", 12, 0.020, joules=1_790_000.0),
            WorkerView("1.2#1", "gpu-03", "loading"),
        ),
        state="RUNNING",
        reason="",
        rollout="",
        next_revision=None,
        energy=ENERGY,
        slo=SloView(200.0, 0.001, 3.2, 0.9, 231.0, 0.0004, 6.0),
        watts=WattsView(4_210.0, 5_600.0, 3_200.0),
        requests_per_s=412.0,
    )


def _digits() -> ServiceView:
    workers = (
        WorkerView("2.0#1", "gpu-03", "ready", 1, 0.004),
        WorkerView("2.1#4", "gpu-04", "failed", reason="CUDA out of memory"),
    )
    return ServiceView(
        name="digits",
        owner="grace",
        revision=JobId(2),
        replicas=ReplicasView(2, 2, 2, 1),
        workers=workers,
        state="RUNNING",
        reason="",
        rollout="",
        next_revision=None,
        requests_per_s=17.4,
    )


def _night() -> ServiceView:
    return ServiceView(
        name="night",
        owner="ada",
        revision=JobId(3),
        replicas=ReplicasView(1, 2, 0, 0, "no request for 10m"),
        workers=(),
        state="PENDING",
        reason="",
        rollout="",
        next_revision=None,
        slo=SloView(1_000.0, 0.01, None, 0.0, None, None, 4.2),
        requests_per_s=0.0,
    )
