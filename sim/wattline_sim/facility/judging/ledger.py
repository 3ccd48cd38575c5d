"""What the scheduler has on record during a run.

Records are kept as they were handed in; only a restart sends them through the production store
and loads them from it. The deterministic fleet simulation proves every single commit; here they
would cost more than the scheduler itself.
"""

from collections.abc import Sequence

from wattline_scheduler.records import EventRecord, Record, Saved
from wattline_sim.fleet.disk import Disk

Key = tuple[str, tuple[object, ...]]


class Ledger:
    """One scheduler's records."""

    def __init__(self) -> None:
        self._disk = Disk()
        self._unwritten: dict[Key, Record] = {}
        self.event_counts: dict[str, int] = {}
        """Lines of the event log by kind."""

    def open(self, unix_s: float, instance: str) -> Saved:
        """A new run of the scheduler: raise the epoch, load everything."""
        if self._disk.store is not None:
            self._disk.commit(list(self._unwritten.values()))
            self._unwritten.clear()
        return self._disk.open(unix_s, instance)

    def commit(self, records: Sequence[Record]) -> None:
        """Remember."""
        for record in records:
            key = (type(record).__name__, tuple(getattr(record, name) for name in record.key))
            self._unwritten[key] = record
            if isinstance(record, EventRecord):
                kind = record.event.kind
                self.event_counts[kind] = self.event_counts.get(kind, 0) + 1
