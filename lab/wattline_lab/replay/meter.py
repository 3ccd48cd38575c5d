"""What is counted while a cluster runs: GPUs held and stranded, watts, shares of accounts.

A GPU is *stranded* while nobody holds it though work of its model waits; a watt while nobody draws
it though work waits that would. So neither counts what nobody asked for.

The *share error* of an account over a day is by how much its share of the GPU time held differs
from the share that max-min fairness gives it: at every moment the GPUs held are divided evenly,
but nobody gets more than it asks for (the fluid of Parekh and Gallager, 1993; the absolute error
of Waldspurger and Weihl's stride scheduling, 1995).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from wattline_scheduler.power.topology.matrix import Floats

DAY_S = 86_400.0


class ShareError(msgspec.Struct, frozen=True):
    """By how much accounts' shares of the GPU time of a day differ from max-min fair ones, in
    percent of all GPU time held on that day."""

    max: float
    """Of any account on any day."""
    mean: float


class Meter:
    """Integrals over the time in which jobs are submitted; what drains afterwards is not in it."""

    def __init__(
        self, free: Mapping[str, int], accounts: Iterable[str], until_s: float, from_s: float = 0.0
    ) -> None:
        """`free`: GPUs of each model."""
        self._until_s = until_s
        self._model = {model: at for at, model in enumerate(free)}
        self._account = {account: at for at, account in enumerate(accounts)}
        self._free = np.array(list(free.values()), np.float64)
        self._wanted = np.zeros(len(free))
        self._held = np.zeros(len(self._account))
        self._asked = np.zeros(len(self._account))
        self._wanted_mw = 0.0
        self._now_s = from_s
        self.held_gpu_s = self.work_gpu_s = self.stranded_gpu_s = 0.0
        self.drawn_mw_s = self.stranded_mw_s = self.span_s = 0.0
        self._share_gpu_s: dict[int, tuple[Floats, Floats]] = defaultdict(
            lambda: (np.zeros(len(self._account)), np.zeros(len(self._account)))
        )
        """By day: held, and what would have been fair."""

    def submitted(self, account: str, model: str, gpus: int, mw: float = 0.0) -> None:
        """So many GPUs are waited for, which would draw so much."""
        self._asked[self._account[account]] += gpus
        self._wanted[self._model[model]] += gpus
        self._wanted_mw += mw

    def started(self, account: str, model: str, gpus: int, mw: float = 0.0) -> None:
        """They are held, and not waited for any more."""
        self._held[self._account[account]] += gpus
        self._wanted[self._model[model]] -= gpus
        self._free[self._model[model]] -= gpus
        self._wanted_mw -= mw

    def ended(self, account: str, model: str, gpus: int) -> None:
        """They are free."""
        self._held[self._account[account]] -= gpus
        self._asked[self._account[account]] -= gpus
        self._free[self._model[model]] += gpus

    def pass_to(
        self,
        now_s: float,
        working_gpus: float = 0.0,
        drawn_mw: float = 0.0,
        budget_mw: float = 0.0,
    ) -> None:
        """Until now everything was as it is."""
        before_s, self._now_s = self._now_s, now_s
        span_s = min(now_s, self._until_s) - before_s
        if span_s <= 0.0:
            return
        self.span_s += span_s
        self.held_gpu_s += span_s * float(self._held.sum())
        self.work_gpu_s += span_s * working_gpus
        self.stranded_gpu_s += span_s * float(np.minimum(self._free, self._wanted).sum())
        self.drawn_mw_s += span_s * drawn_mw
        self.stranded_mw_s += span_s * min(max(0.0, budget_mw - drawn_mw), self._wanted_mw)
        held, fair = self._share_gpu_s[int(before_s // DAY_S)]
        held += span_s * self._held
        fair += span_s * max_min(self._asked, float(self._held.sum()))

    def share_errors(self) -> Floats:
        """Of each account on each day, of all GPU time held on that day."""
        days = [(held - fair) / max(1.0, held.sum()) for held, fair in self._share_gpu_s.values()]
        errors: Floats = np.abs(np.concatenate([*days, np.zeros(0)]))
        return errors


def share_error(meters: Sequence[Meter]) -> ShareError:
    """Of accounts that share GPUs with those of the same meter alone."""
    errors = 100.0 * np.concatenate([meter.share_errors() for meter in meters] or [np.zeros(0)])
    if not len(errors):
        return ShareError(0.0, 0.0)
    return ShareError(round(float(errors.max()), 2), round(float(errors.mean()), 3))


def max_min(asked: Floats | Sequence[float], total: float) -> Floats:
    """Divide evenly, but give nobody more than it asks for."""
    wants = np.asarray(asked, np.float64)
    order = np.argsort(wants)
    ascending = wants[order]
    before = np.concatenate([[0.0], np.cumsum(ascending)[:-1]])
    levels = (total - before) / np.arange(len(wants), 0, -1)
    short = np.flatnonzero(ascending >= levels)
    if not len(short):
        return wants.copy()
    level: Floats = np.minimum(wants, max(0.0, float(levels[short[0]])))
    return level
