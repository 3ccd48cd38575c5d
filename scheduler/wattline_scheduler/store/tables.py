"""The tables of a store. Times are Unix seconds, power milliwatts, energy millijoules."""

from typing import Any, ClassVar

import msgspec

from wattline_protocol.job.spec import JobSpec
from wattline_scheduler.api_key_record import ApiKeyRecord
from wattline_scheduler.data_record import DataSetRecord, DataVersionRecord
from wattline_scheduler.notification_record import NotificationRecord
from wattline_scheduler.recorded_run import RecordedRun
from wattline_scheduler.records import (
    ActRecord,
    AttemptRecord,
    BookRecord,
    DemandRecord,
    EventRecord,
    GangRecord,
    JobRecord,
    LimitRecord,
    MemberRecord,
    MeterRecord,
    NodeRecord,
    PlantRecord,
    ProblemRecord,
    Record,
    ReservationRecord,
    RolloutRecord,
    UseRecord,
)
from wattline_scheduler.route_record import RouteRecord
from wattline_scheduler.service_rollup import ServiceRollup
from wattline_scheduler.store.record_table import Column, Table, columns_of
from wattline_scheduler.store.rollups import (
    DOMAIN_STEPS,
    NODE_STEPS,
    SERVICE_STEPS,
    DomainRollup,
    NodeRollup,
)
from wattline_scheduler.store.runs_retention import RUNS
from wattline_scheduler.store.webhook_marks import WebhookMark

Storable = Record | DomainRollup | NodeRollup | ServiceRollup | WebhookMark | RecordedRun


class Meta(msgspec.Struct, frozen=True):
    """The only row of its table: the run that owns the store, and where numbers begin."""

    key: ClassVar[tuple[str, ...]] = ("id",)
    id: int = 1
    epoch: int = 0
    instance: str = ""
    quiet_commits: int = 0
    """Transactions of all runs that wrote no event (`marker`)."""
    is_backup: bool = False
    is_recovering: bool = False
    """A restored backup is still recovering."""
    job_floor: int = 0
    event_floor: int = 0
    attempt_floor: int = 0
    folded_upto_s: int = 0
    """Roll-ups before it are coarse."""


_ACCOUNT = Column("account", "account", str, str, is_optional=False)
_OF_SPEC = [
    c for c in columns_of(JobSpec, "spec.") if c.name in ("name", "kind", "queue", "priority")
]

META = Table("meta", Meta)
JOBS = Table("jobs", JobRecord, shown=[_ACCOUNT, *_OF_SPEC])
GANGS = Table("gangs", GangRecord)
ATTEMPTS = Table("attempts", AttemptRecord)
NODES = Table("nodes", NodeRecord)
BOOKS = Table("books", BookRecord)
LIMITS = Table("limits", LimitRecord)
DEMANDS = Table("demands", DemandRecord)
METERS = Table("meters", MeterRecord)
PLANTS = Table("plants", PlantRecord)
USES = Table("uses", UseRecord)
RESERVATIONS = Table("reservations", ReservationRecord)
API_KEYS = Table("api_keys", ApiKeyRecord)
ROUTES = Table("routes", RouteRecord)
DATA_SETS = Table("data_sets", DataSetRecord)
DATA_VERSIONS = Table("data_versions", DataVersionRecord)
WEBHOOKS = Table("webhooks", WebhookMark)
PROBLEMS = Table("problems", ProblemRecord)
EVENTS = Table("events", EventRecord)
ACTS = Table("acts", ActRecord)
MEMBERS = Table("members", MemberRecord)
ROLLOUTS = Table("rollouts", RolloutRecord)
NOTIFICATIONS = Table("notifications", NotificationRecord)

RECORDS: tuple[Table[Any], ...] = (
    JOBS,
    GANGS,
    ATTEMPTS,
    NODES,
    BOOKS,
    LIMITS,
    DEMANDS,
    METERS,
    PLANTS,
    USES,
    RESERVATIONS,
    API_KEYS,
    ROUTES,
    DATA_SETS,
    DATA_VERSIONS,
    WEBHOOKS,
    PROBLEMS,
    EVENTS,
    ACTS,
    MEMBERS,
    ROLLOUTS,
    NOTIFICATIONS,
    SERVICE_STEPS,
    RUNS,
)
"""Tables in which a record replaces the one with its key."""

TABLES = (META, *RECORDS, DOMAIN_STEPS, NODE_STEPS)
