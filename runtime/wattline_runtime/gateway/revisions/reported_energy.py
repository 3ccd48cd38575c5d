"""What a worker reports of its energy, as far as it can be true. No I/O."""

from dataclasses import dataclass

MAX_WORKER_W = 20_000
"""Of all GPUs of a worker: more than any host draws."""
BEFORE_S = 60.0
"""Energy from before its connection that a worker may report as well."""
UJ = 1_000_000


@dataclass(slots=True)
class ReportedEnergy:
    """Of one connection. A worker that reports more than a host can draw over its time has not
    measured: what exceeds that is ignored."""

    since_s: float
    requests_uj: int = 0
    """Of its answers."""
    idle_uj: int = 0
    """That no answer carries."""
    _seen_uj: int | None = None
    """Idle energy in its newest beat; None: it has sent none."""

    def answered(self, energy_uj: int | None, now_s: float) -> int | None:
        """Energy of an answer; None: not measured."""
        if energy_uj is None or not self._is_possible(energy_uj, now_s):
            return None
        self.requests_uj += energy_uj
        return energy_uj

    def idled(self, total_uj: int | None, now_s: float) -> int:
        """What of the idle energy since the connection began is new. That of the first beat was
        counted before, if this gateway had taken the worker for lost."""
        if total_uj is None or self._seen_uj is None:
            self._seen_uj = self._seen_uj or total_uj or 0
            return 0
        grown_uj = total_uj - self._seen_uj
        if not self._is_possible(grown_uj, now_s):
            return 0
        self._seen_uj = total_uj
        self.idle_uj += grown_uj
        return grown_uj

    def _is_possible(self, energy_uj: int, now_s: float) -> bool:
        most_uj = MAX_WORKER_W * (now_s - self.since_s + BEFORE_S) * UJ
        return 0 <= energy_uj <= most_uj - self.requests_uj - self.idle_uj
