"""What one side of the comparison has shown."""

from collections.abc import Callable

import msgspec
import numpy as np

from wattline_sim.facility.plant.dice import Flags, Floats
from wattline_sim.service.requests import Requests
from wattline_sim.service.run import STEPS_A_SECOND, Run
from wattline_sim.service.stage import STEP_S, Stage

LEAD_S = 600.0
"""Played before what is measured: the first minutes of the requests, once more."""
TAIL_S = 300.0
"""After the last arrival, for answers that are under way."""
TOKEN_S = 0.2
"""What an output token may take: the limit of MLPerf Inference for Llama 2 70B."""
_JOULES_PER_KWH = 3.6e6

Progress = Callable[[float], None]
"""Told the share of the run that is done."""


class Side(msgspec.Struct, frozen=True):
    """What a side has shown, from the end of the lead-in to the last arrival."""

    requests: int
    missed: int
    """First token later than the SLO, or last one later than the SLO and `TOKEN_S` a token."""
    missed_share: float
    first_token_late: int
    last_token_late: int
    first_token_p50_s: float
    first_token_p95_s: float
    first_token_p99_s: float
    token_p95_ms: float
    service_kwh: float
    """Of all GPUs that replicas held, loading ones included."""
    joules_per_1000: int
    training_gpu_hours: float
    """Uncapped GPU hours' worth of training work."""
    replicas_mean: float
    replicas_most: int
    service_gpu_w: float
    """Mean draw of a GPU of the service."""
    fleet_kwh: float
    """Of all GPUs."""
    seconds_over_feed: int
    trips: int


class _Meter:
    """What is measured at each second."""

    def __init__(self, stage: Stage) -> None:
        stage.forget_measures()
        self._stage = stage
        self._before_j = self._all_j()
        self.replicas: list[int] = []
        self.gpus: list[int] = []
        self.over_s = 0

    def _all_j(self) -> float:
        return float(self._stage.plant.cards.energy_j.sum())

    def second(self, *, is_over_feed: bool) -> None:
        self.replicas.append(self._stage.count)
        self.gpus.append(len(self._stage.service_gpus))
        self.over_s += is_over_feed

    def energies(self) -> tuple[float, float, float]:
        """Joules of the service and of all GPUs, and GPU seconds of training, until now."""
        stage = self._stage
        return stage.service_j, self._all_j() - self._before_j, stage.training_gpu_s


def judged(run: Run, requests: Requests, p95_s: float, progress: Progress) -> Side:
    """Run it to its end. `requests` begin with the lead-in."""
    steps = round(requests.arrival_s[-1] / STEP_S)
    lead = round(LEAD_S / STEP_S)
    for _ in range(lead):
        run.step()
    meter = _Meter(run.stage)
    for step in range(lead, steps):
        run.step()
        if step % STEPS_A_SECOND == 0:
            meter.second(is_over_feed=run.is_over_feed)
            progress(step / steps)
    service_j, all_j, training_gpu_s = meter.energies()
    for _ in range(round(TAIL_S / STEP_S)):
        run.step()
    late, slow, first_s, token_s = _times(run.stage, requests, p95_s)
    count, missed = len(first_s), int(np.count_nonzero(late | slow))
    return Side(
        requests=count,
        missed=missed,
        missed_share=round(missed / count, 5),
        first_token_late=int(np.count_nonzero(late)),
        last_token_late=int(np.count_nonzero(slow)),
        first_token_p50_s=_quantile(first_s, 0.5),
        first_token_p95_s=_quantile(first_s, 0.95),
        first_token_p99_s=_quantile(first_s, 0.99),
        token_p95_ms=_quantile(token_s * 1e3, 0.95),
        service_kwh=round(service_j / _JOULES_PER_KWH, 3),
        joules_per_1000=round(service_j / count * 1e3),
        training_gpu_hours=round(training_gpu_s / 3600, 3),
        replicas_mean=round(float(np.mean(meter.replicas)), 3),
        replicas_most=max(meter.replicas),
        service_gpu_w=round(service_j / sum(meter.gpus), 1),
        fleet_kwh=round(all_j / _JOULES_PER_KWH, 3),
        seconds_over_feed=meter.over_s,
        trips=int(np.count_nonzero(run.stage.plant.tripped)),
    )


def _times(stage: Stage, requests: Requests, p95_s: float) -> tuple[Flags, Flags, Floats, Floats]:
    """Of each request after the lead-in: whether its first token, and its last, was late; the time
    to the first, and that of each further one."""
    first_s, last_s = np.array(stage.replicas.first_s), np.array(stage.replicas.last_s)
    after_s, whole_s = first_s - requests.arrival_s, last_s - requests.arrival_s
    is_done = np.isfinite(last_s)
    decode_s = np.where(is_done, last_s, 0.0) - np.where(is_done, first_s, 0.0)
    token_s = np.where(is_done, decode_s / requests.output_tokens, np.inf)
    slow = whole_s > p95_s + TOKEN_S * requests.output_tokens
    measured = requests.arrival_s >= LEAD_S
    return (after_s > p95_s)[measured], slow[measured], after_s[measured], token_s[measured]


def _quantile(values: Floats, share: float) -> float:
    return round(float(np.quantile(values, share, method="inverted_cdf")), 3)
