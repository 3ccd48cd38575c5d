"""Roll-ups add up within a step, are taken once from a spool, and get coarse with age."""

import sqlite3
from pathlib import Path
from typing import Literal

from wattline_protocol.ids import DomainId, NodeId, UnixTime
from wattline_scheduler.store.rollups import (
    DOMAIN_COARSE_STEP_S,
    DOMAIN_FINE_KEEP_S,
    ROLLUP_KEEP_S,
    SETTLED_S,
    SPOOL_AHEAD_S,
    DomainRollup,
    NodeRollup,
)
from wattline_scheduler.store.store import Store

T0 = 1_700_000_000 // DOMAIN_COARSE_STEP_S * DOMAIN_COARSE_STEP_S


def domain_step(start: int, peak_mw: int, *, mean: int = 100, seconds: float = 10) -> DomainRollup:
    peaks = (peak_mw, peak_mw, peak_mw)
    return DomainRollup(DomainId("site"), start, seconds, 1_000, *peaks, mean)


def node_step(start: float, source: Literal["beats", "spool"], energy_mj: int = 500) -> NodeRollup:
    return NodeRollup(NodeId("n1"), UnixTime(start), source, 10.0, energy_mj, 400, 60, 7)


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    reader = sqlite3.connect(store.path)
    found = reader.execute(sql).fetchall()
    reader.close()
    return found


def test_steps_of_the_same_key_add_up(tmp_path: Path) -> None:
    store, _ = Store.open(tmp_path, now_unix_s=T0)
    store.commit([domain_step(T0, 500, mean=100, seconds=6.0)])
    store.commit([domain_step(T0, 400, mean=200, seconds=2.0)])
    found = rows(store, "SELECT seconds, measured_max_mw, measured_mean_mw FROM domain_rollups")
    assert found == [(8.0, 500, 125)]
    store.commit([node_step(T0, "beats"), node_step(T0, "beats")])
    assert rows(store, "SELECT seconds, node_energy_mj FROM node_rollups") == [(20.0, 1_000)]
    store.close()


def test_a_repeated_spooled_step_counts_once_and_beside_beats(tmp_path: Path) -> None:
    store, _ = Store.open(tmp_path, now_unix_s=T0)
    store.commit([node_step(T0, "spool"), node_step(T0, "beats", 3)])
    store.commit([node_step(T0, "spool"), node_step(T0 + 60, "spool")])
    found = rows(store, "SELECT source, sum(node_energy_mj) FROM node_rollups GROUP BY source")
    assert found == [("beats", 3), ("spool", 1_000)]
    store.close()


def test_old_domain_steps_become_coarse_and_keep_their_peak(tmp_path: Path) -> None:
    store, _ = Store.open(tmp_path, now_unix_s=T0)
    steps = [domain_step(T0 + 10 * i, 100 + i) for i in range(180)]
    store.commit(steps)
    later = T0 + DOMAIN_FINE_KEEP_S + DOMAIN_COARSE_STEP_S
    for _ in range(2):
        store.tidy(later)
        found = rows(store, "SELECT start_unix_s, seconds, measured_max_mw FROM domain_rollups")
        coarse = [row for row in found if row[1] == 900.0]
        assert coarse == [(T0, 900.0, 189)]
        assert len(found) == 91
    store.tidy(later + DOMAIN_COARSE_STEP_S)
    found = rows(store, "SELECT start_unix_s, seconds, measured_max_mw FROM domain_rollups")
    assert sorted(found) == [(T0, 900.0, 189), (T0 + DOMAIN_COARSE_STEP_S, 900.0, 279)]
    store.close()


def test_steps_are_dropped_after_two_years(tmp_path: Path) -> None:
    store, _ = Store.open(tmp_path, now_unix_s=T0)
    store.commit([domain_step(T0, 1), node_step(T0, "beats")])
    newest = T0 + ROLLUP_KEEP_S + DOMAIN_COARSE_STEP_S
    store.commit([domain_step(newest, 1)])
    store.tidy(newest + SETTLED_S)
    assert rows(store, "SELECT start_unix_s FROM domain_rollups") == [(newest,)]
    assert rows(store, "SELECT * FROM node_rollups") == []
    store.close()


def test_spooled_steps_of_the_future_are_dropped(tmp_path: Path) -> None:
    store, _ = Store.open(tmp_path, now_unix_s=T0)
    store.commit([domain_step(T0, 1), node_step(T0 + 10 * SPOOL_AHEAD_S, "beats")])
    store.commit([node_step(T0 + at_s, "spool") for at_s in (0, SPOOL_AHEAD_S, 9e8)])
    starts = "SELECT start_unix_s FROM node_rollups WHERE source = 'spool' ORDER BY start_unix_s"
    store.tidy(T0)
    assert rows(store, starts) == [(T0,), (T0 + SPOOL_AHEAD_S,)]
    store.tidy(T0 - 86_400.0)
    assert len(rows(store, starts)) == 2, "a clock that is behind deletes nothing"
    assert len(rows(store, "SELECT 1 FROM node_rollups WHERE source = 'beats'")) == 1
    store.close()
