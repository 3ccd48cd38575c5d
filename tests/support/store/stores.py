"""A store on disk for tests: opened at one time, and a record of each kind to put into it."""

from pathlib import Path

from support.core import records
from wattline_protocol.ids import DomainId
from wattline_scheduler.store.rollups import SETTLED_S, DomainRollup
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.tables import Storable

NOW = records.T0 + 1_000


def opened(directory: Path, *, recover: bool = False) -> Store:
    """The store alone."""
    return Store.open(directory, now_unix_s=NOW, recover=recover)[0]


def settle(store: Store, unix_s: float) -> float:
    """Put a domain step on record from which ages count; when they count from that."""
    store.commit([DomainRollup(DomainId("site"), int(unix_s), 10.0, 1_000, 1, 1, 1, 1)])
    return unix_s + SETTLED_S


def everything() -> list[Storable]:
    """One record of each kind."""
    return [
        records.job(1, ended_after_s=5.0),
        records.job(2),
        records.gang(1, attempt=1, is_ended=True),
        records.gang(2),
        records.attempt(1),
        records.node(),
        records.book(),
        records.demand(1),
        records.demand(0),
        records.limit(),
        records.limit("event 7", is_over=True),
        records.meter(),
        records.plant(),
        records.use(),
        records.reservation(),
        records.reservation("gone", is_over=True),
        records.event(1),
        records.event(2),
    ]
