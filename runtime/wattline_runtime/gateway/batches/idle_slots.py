"""Which slots of a service's workers batches may use: those that requests leave, half at most."""

from collections import Counter
from collections.abc import Mapping

from wattline_runtime.gateway.state import ServiceState

SHARE = 0.5
"""Of all slots: a worker holds two batches' worth, and a request then finds one ahead of it."""


class IdleSlots:
    """Rows in flight by service, and the batches that share them."""

    def __init__(self, services: Mapping[str, ServiceState]) -> None:
        self._services = services
        self._rows: Counter[str] = Counter()
        self._batches: Counter[str] = Counter()

    def enter(self, service: str) -> None:
        """A batch begins to run."""
        self._batches[service] += 1

    def leave(self, service: str) -> None:
        """A batch has ended."""
        self._batches[service] -= 1

    def take(self, service: str, mine: int) -> bool:
        """A slot for a row of a batch that has `mine` in flight; False: there is none for it."""
        found = self._services.get(service)
        if found is None or found.queued:
            return False
        slots = sum([worker.capacity for worker in found.serving])
        if not any(worker.has_slot for worker in found.serving):
            return False
        most = max(1, int(slots * SHARE))
        if self._rows[service] >= most or mine >= max(1, most // self._batches[service]):
            return False
        self._rows[service] += 1
        return True

    def release(self, service: str) -> None:
        """The row has an outcome."""
        self._rows[service] -= 1
