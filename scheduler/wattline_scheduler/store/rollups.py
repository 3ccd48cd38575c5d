"""Roll-ups: power in 10 s steps per domain for peaks and up to a minute per node for energy, and
the load of services by the minute.

Every step of power is added to the row of its key, so a scheduler that restarts inside a step loses
nothing; spooled steps of an agent arrive complete and are added once. A minute of a service
replaces its row: a run continues the minutes of the one before.
"""

import math
import sqlite3
from typing import ClassVar, Literal

import msgspec

from wattline_protocol.ids import DomainId, NodeId, UnixTime, UserName
from wattline_scheduler.service_rollup import ServiceHour, ServiceRollup
from wattline_scheduler.store.record_table import Table

DOMAIN_STEP_S = 10
"""Length of a domain's roll-up step."""

DOMAIN_FINE_KEEP_S = 86_400
"""Steps of 10 s are retained for a day …"""

DOMAIN_COARSE_STEP_S = 900
"""… then folded into steps of 15 minutes, which preserve the peaks …"""

ROLLUP_KEEP_S = 2 * 366 * 86_400
"""… for two years, as are the nodes' steps."""


SETTLED_S = 7 * 86_400.0
"""Ages of all that is retained for a time count from the newest domain step that is at least this
old, not from the clock: a run whose clock is years ahead deletes nothing within this time."""

SPOOL_AHEAD_S = 600.0
"""Spooled steps that begin later than this from now are not retained: the clock of their node was
ahead, or their sender lies."""

SERVICE_KEEP_S = 35 * 86_400
"""Minutes of services are retained for five weeks."""

SERVICE_RECENT_S = 6 * 3_600
"""Minutes that a restart loads: the longest window of an SLO."""

MINUTE_LEAST_S = 30.0
"""A minute of which less is known is left out of its hour."""

MAX_HOURS_LOADED = 1_000_000
"""Hours of services; more are those of services that are long gone."""


class DomainRollup(msgspec.Struct, frozen=True):
    """Committed and drawn power of a domain during one step. All in wall milliwatts."""

    key: ClassVar[tuple[str, ...]] = ("domain", "start_unix_s")
    domain: DomainId
    start_unix_s: int
    seconds: float
    budget_mw: int
    """Lowest budget in force during the step."""
    committed_max_mw: int
    leased_max_mw: int
    """Excludes nodes never connected: they count at nameplate without a lease."""
    measured_max_mw: int
    measured_mean_mw: int


class NodeRollup(msgspec.Struct, frozen=True):
    """Energy of one node during a step, from its beats or from its agent's spool."""

    key: ClassVar[tuple[str, ...]] = ("node", "start_unix_s", "source")
    node: NodeId
    start_unix_s: UnixTime
    source: Literal["beats", "spool"]
    seconds: float
    node_energy_mj: int
    gpu_energy_mj: int
    node_peak_mw: int
    cap_bound_gpu_ms: int


DOMAIN_STEPS = Table("domain_rollups", DomainRollup)
NODE_STEPS = Table("node_rollups", NodeRollup)
SERVICE_STEPS = Table("service_rollups", ServiceRollup)

ADD_DOMAIN_STEP = f"""{DOMAIN_STEPS.insert()}
    measured_mean_mw = CAST((measured_mean_mw * seconds
        + excluded.measured_mean_mw * excluded.seconds) / (seconds + excluded.seconds) AS INTEGER),
    seconds = seconds + excluded.seconds,
    budget_mw = min(budget_mw, excluded.budget_mw),
    committed_max_mw = max(committed_max_mw, excluded.committed_max_mw),
    leased_max_mw = max(leased_max_mw, excluded.leased_max_mw),
    measured_max_mw = max(measured_max_mw, excluded.measured_max_mw)
"""

ADD_NODE_STEP = f"""{NODE_STEPS.insert()}
    seconds = seconds + excluded.seconds,
    node_energy_mj = node_energy_mj + excluded.node_energy_mj,
    gpu_energy_mj = gpu_energy_mj + excluded.gpu_energy_mj,
    node_peak_mw = max(node_peak_mw, excluded.node_peak_mw),
    cap_bound_gpu_ms = cap_bound_gpu_ms + excluded.cap_bound_gpu_ms
WHERE excluded.source = 'beats'
"""

_FOLDED = """
SELECT domain, start_unix_s - start_unix_s % :coarse_s AS start, sum(seconds), min(budget_mw),
    max(committed_max_mw), max(leased_max_mw), max(measured_max_mw),
    CAST(sum(measured_mean_mw * seconds) / sum(seconds) AS INTEGER)
FROM domain_rollups
WHERE start_unix_s >= :since_s AND start_unix_s < :until_s
GROUP BY domain, start
"""


# Not by the clock alone: a scheduler whose clock is behind must not delete what was genuine.
_AHEAD = """
DELETE FROM node_rollups WHERE source = 'spool' AND start_unix_s > :ahead_s
    + max(:now_s, (SELECT coalesce(max(start_unix_s), 0) FROM domain_rollups))
"""


def settled_unix_s(db: sqlite3.Connection, now_unix_s: float) -> float:
    """The time from which ages count; before everything if no domain step is old enough."""
    newest = "SELECT max(start_unix_s) FROM domain_rollups WHERE start_unix_s <= ?"
    found: float | None = db.execute(newest, (now_unix_s - SETTLED_S,)).fetchone()[0]
    return -math.inf if found is None else found


def fold(db: sqlite3.Connection, now_unix_s: float) -> None:
    """Fold domain steps older than a day, and delete those of the future, in the caller's
    transaction.

    Each step is folded once: `meta.folded_upto_s` records the progress. Where that is ahead of the
    clock, the clock of an earlier run was: a week is folded again, which changes no folded step.
    """
    until_s = int(now_unix_s - DOMAIN_FINE_KEEP_S) // DOMAIN_COARSE_STEP_S * DOMAIN_COARSE_STEP_S
    since_s = db.execute("SELECT folded_upto_s FROM meta").fetchone()[0]
    if since_s > now_unix_s:
        since_s = until_s - int(SETTLED_S)
    if until_s > since_s:
        span = {"since_s": since_s, "until_s": until_s, "coarse_s": DOMAIN_COARSE_STEP_S}
        folded = db.execute(_FOLDED, span).fetchall()
        db.execute(
            "DELETE FROM domain_rollups WHERE start_unix_s >= ? AND start_unix_s < ?",
            (since_s, until_s),
        )
        db.executemany(ADD_DOMAIN_STEP, folded)
        db.execute("UPDATE meta SET folded_upto_s = ?", (until_s,))
    db.execute(_AHEAD, {"now_s": now_unix_s, "ahead_s": SPOOL_AHEAD_S})


def load_service_minutes(db: sqlite3.Connection) -> tuple[ServiceRollup, ...]:
    """The newest ones, in order of time."""
    newest = "(SELECT max(start_unix_s) FROM service_rollups)"
    recent = f"WHERE start_unix_s > {newest} - ? ORDER BY start_unix_s"
    return SERVICE_STEPS.records(db, recent, (SERVICE_RECENT_S,))


_HOURS = """
SELECT service, owner, start_unix_s / 3600 AS hour, max(arrived / seconds), sum(arrived),
    sum(seconds)
FROM service_rollups WHERE seconds >= ?{}
GROUP BY service, owner, hour ORDER BY hour DESC LIMIT ?
"""
_OF_SERVICE = " AND service = ? AND owner = ?"


def load_service_hours(db: sqlite3.Connection) -> tuple[ServiceHour, ...]:
    """Those on record, the newest first."""
    rows = db.execute(_HOURS.format(""), (MINUTE_LEAST_S, MAX_HOURS_LOADED))
    return tuple(ServiceHour(*row) for row in rows)


def load_service_history(
    db: sqlite3.Connection, service: str, owner: UserName
) -> tuple[tuple[ServiceHour, ...], tuple[ServiceRollup, ...]]:
    """Hours of one service, and its newest minutes in order of time."""
    of = (MINUTE_LEAST_S, service, owner, MAX_HOURS_LOADED)
    hours = tuple(ServiceHour(*row) for row in db.execute(_HOURS.format(_OF_SERVICE), of))
    recent = "WHERE service = ? AND owner = ? ORDER BY start_unix_s DESC LIMIT ?"
    minutes = SERVICE_STEPS.records(db, recent, (service, owner, SERVICE_RECENT_S // 60))
    return hours, minutes[::-1]
