"""File layout of an attempt, and its order as stored on disk."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from wattline_agent.core.ports import LaunchContext
from wattline_agent.keeper.journal import Fact, read_journal
from wattline_agent.keeper.logfile import INDEX, LOG, OLD_LOG
from wattline_agent.keeper.spec import (
    INVENTORY_FILE,
    STOP_FILE,
    TASKS_DIR,
    BadRequest,
    ExitRecord,
    check_key,
)
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.wire.task_order import TaskOrder

OUTPUT_DIR = "output"
ORDERS_FILE = "orders.journal"
METRICS_FILE = "metrics.jsonl"
REPORT_FILE = "report"
NOTICE_FILE = "notice"
CHECKPOINTS_DIR = "checkpoints"
TASKLIB_DIR = "tasklib"
SECRET_FILE = "worker.secret"  # noqa: S105 - a file's name
BESIDE = (
    *(LOG, OLD_LOG, INDEX, METRICS_FILE, NOTICE_FILE, SECRET_FILE, STOP_FILE),
    *(REPORT_FILE, f"{REPORT_FILE}.new", INVENTORY_FILE),
)
"""Files beside an attempt's directory."""


class OrderFile(msgspec.Struct, frozen=True):
    """A launched order, a line of the journal of orders; sufficient for a restarted agent to adopt
    the attempt."""

    order: TaskOrder
    context: LaunchContext
    worker_public_key: str = ""
    unstarted: ExitRecord | None = None
    """Set where the keeper was never asked to start it: why."""


def key_of(ref: TaskRef) -> str:
    """The attempt's name for the keeper, and its directory's."""
    return f"{ref.job}.{ref.task}.{ref.attempt}"


def ref_of(key: str) -> TaskRef:
    """The inverse of `key_of`."""
    job, task, attempt = map(int, key.split("."))
    return TaskRef(JobId(job), TaskNo(task), AttemptNo(attempt))


def read_orders(state_dir: Path) -> tuple[dict[str, OrderFile], list[str]]:
    """Orders on disk by attempt; and attempts whose orders are none: of a damaged disk, or of a
    release with other bounds."""
    found, unreadable = dict[str, OrderFile](), list[str]()
    for key, data in read_journal(state_dir / ORDERS_FILE).items():
        try:
            found[key] = msgspec.convert(data, OrderFile)
        except (msgspec.ValidationError, UnicodeEncodeError):  # half a surrogate pair
            unreadable.append(key)
    return found, unreadable


def fact_of(file: OrderFile) -> Fact:
    """Its line of the journal."""
    return key_of(file.order.ref), msgspec.json.encode(file)


class TaskDir:
    """The files of one attempt: its directory `tasks/JOB.TASK.ATTEMPT`, in which it runs unless its
    order names another, and beside it, created on first write, `….log` and others."""

    def __init__(self, state_dir: Path, ref: TaskRef) -> None:
        self.parent = f"{state_dir}/{TASKS_DIR}"
        self.path = path = f"{self.parent}/{key_of(ref)}"
        self.log_prefix = f"{path}."
        self.output = f"{path}.{OUTPUT_DIR}"
        self.torchrun = f"{path}/.wattline-torchrun"
        self.metrics = f"{path}.{METRICS_FILE}"
        self.report = f"{path}.{REPORT_FILE}"
        self.inventory = f"{path}.{INVENTORY_FILE}"
        self.notice = f"{path}.{NOTICE_FILE}"
        self.secret = f"{path}.{SECRET_FILE}"
        self.stop = f"{path}.{STOP_FILE}"

    def made_for(self, order: TaskOrder) -> tuple[str, ...]:
        """Directories that the task owns from its start."""
        return (self.path, self.output) if order.has_output else (self.path,)

    def save_secret(self, secret: bytes) -> None:
        """The worker's CURVE secret key, readable by its owner only. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(self.secret, flags, 0o600)
        try:
            os.write(descriptor, secret + b"\n")
        finally:
            os.close(descriptor)

    def make_metrics(self) -> str:
        """Create the empty file that the task writes its metrics to, for a task that cannot create
        it. Returns its path. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        os.close(os.open(self.metrics, flags, 0o600))
        return self.metrics

    def remove_files(self) -> None:
        """Remove the files beside its directory, as far as possible."""
        for name in BESIDE:
            with suppress(OSError):
                os.unlink(f"{self.path}.{name}")  # noqa: PTH108 - a hot path


def on_disk(state_dir: Path, is_covered: Callable[[str], bool]) -> list[TaskRef]:
    """Attempts with files on disk, the most recently changed last. Skips what is covered by a
    user's mount."""
    changed_s: dict[TaskRef, float] = {}
    with os.scandir(state_dir / TASKS_DIR) as entries:
        for entry in entries:
            with suppress(BadRequest, FileNotFoundError):  # not ours, or removed meanwhile
                ref = ref_of(check_key(".".join(entry.name.split(".")[:3])))
                at_s = 0.0 if is_covered(entry.path) else entry.stat().st_mtime
                changed_s[ref] = max(changed_s.get(ref, 0.0), at_s)
    return sorted(changed_s, key=changed_s.__getitem__)
