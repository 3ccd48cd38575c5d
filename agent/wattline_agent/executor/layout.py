"""Where the files of an attempt lie, and the order as kept on disk."""

import os
from pathlib import Path

import msgspec

from wattline_agent.keeper.spec import EXIT_FILE, STARTED_FILE, STOP_FILE, TASKS_DIR, WORK_DIR
from wattline_agent.ports import LaunchContext
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.messages import TaskOrder

ORDER_FILE = "order.json"
METRICS_FILE = "metrics.jsonl"
NOTICE_FILE = "notice"
SECRET_FILE = "worker.secret"  # noqa: S105 - a file's name
FORGOTTEN_FILE = "forgotten"
MAX_ORDER_BYTES = 4 * 1024 * 1024


class OrderFile(msgspec.Struct, frozen=True):
    """What was launched; enough for a restarted agent to take the attempt over."""

    order: TaskOrder
    context: LaunchContext
    worker_public_key: str = ""


def key_of(ref: TaskRef) -> str:
    """The attempt's name for the keeper, and its directory's."""
    return f"{ref.job}.{ref.task}.{ref.attempt}"


def ref_of(key: str) -> TaskRef:
    """The inverse of `key_of`."""
    job, task, attempt = map(int, key.split("."))
    return TaskRef(JobId(job), TaskNo(task), AttemptNo(attempt))


class TaskDir:
    """The directory of one attempt: `tasks/JOB.TASK.ATTEMPT`."""

    def __init__(self, state_dir: Path, ref: TaskRef) -> None:
        self.path = state_dir / TASKS_DIR / key_of(ref)
        self.order = self.path / ORDER_FILE
        self.metrics = self.path / METRICS_FILE
        self.notice = self.path / NOTICE_FILE
        self.secret = self.path / SECRET_FILE
        self.forgotten = self.path / FORGOTTEN_FILE
        self.stop = self.path / STOP_FILE
        self.started = self.path / STARTED_FILE
        self.exit = self.path / EXIT_FILE
        self.work = self.path / WORK_DIR

    def make(self) -> None:
        """Create it, private, with its working directory. Raises OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.work.mkdir(exist_ok=True)

    def save_order(self, order: OrderFile) -> None:
        """Nobody relies on it before this returns; torn, it counts as none. A power cut may lose
        it, for then the attempt is lost as well."""
        self.order.write_bytes(msgspec.json.encode(order))

    def load_order(self) -> OrderFile | None:
        """The order, or None when there is none or it is torn."""
        try:
            with self.order.open("rb") as file:
                return msgspec.json.decode(file.read(MAX_ORDER_BYTES), type=OrderFile)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def save_secret(self, secret: bytes) -> None:
        """The worker's CURVE secret key, readable by its owner only. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(self.secret, flags, 0o600)
        try:
            os.write(descriptor, secret + b"\n")
        finally:
            os.close(descriptor)
