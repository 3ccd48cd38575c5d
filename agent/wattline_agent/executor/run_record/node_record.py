"""The record of one attempt on its node: when its helper is due, and its two files.

The report is written by the agent when the attempt has ended; the inventory is the output of a
helper that the keeper starts as the attempt's account (`wattline.inventory`). Both lie beside its
log, and are removed with it. Nothing in an inventory is trusted, so it is only passed on.
"""

import math
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wattline_agent.core.ports import RecordParts
from wattline_agent.executor.layout import OrderFile, TaskDir
from wattline_agent.executor.open_as_owner import open_local
from wattline_agent.executor.run_record.curves import RunHistory
from wattline_agent.executor.tasklib import HELPER, inventory_program
from wattline_agent.keeper.spec import HELPER_PROTOCOL
from wattline_protocol.wire.task_reports.run_records import (
    FOUND_AFTER_S,
    MAX_PART_BYTES,
    BadRecord,
    is_recorded,
    report_in,
)

OLD_KEEPER = "this node's keeper is older than its agent, and starts no helper"
MADE_EVERY_S = 2.0
KEPT_EVERY_S = 60.0
LEFT_NOTHING = "the helper that finds them could not start, or did not end before the attempt"


@dataclass(slots=True)
class NodeRecord:
    """The record of one attempt. The first node of a gang speaks for all."""

    file: OrderFile
    folder: TaskDir
    history: RunHistory
    is_helped: bool = False
    """Its helper was requested."""
    note: str = ""
    _made: bytes = b""
    _made_s: float = -math.inf
    _kept_s: float = field(default_factory=time.monotonic)
    _kept_to: int = 0

    def helper_due(self, view: Mapping[str, Any], protocol: int, tasklib: Path) -> list[str]:
        """The command of its helper, once, when it is due; else empty. `view` is the keeper's, and
        `protocol` what it speaks."""
        if self.is_helped or not self._is_recorded_kind:
            return []
        after_s = FOUND_AFTER_S[self.file.order.kind]
        if not view.get("pid") or view["phase"] != "running" or view["run_s"] < after_s:
            return []
        self.is_helped, self.note = True, OLD_KEEPER if protocol < HELPER_PROTOCOL else ""
        return [] if self.note else [*HELPER, inventory_program(tasklib), str(view["pid"])]

    @property
    def _is_recorded_kind(self) -> bool:
        order = self.file.order
        return order.kind in FOUND_AFTER_S and order.node_rank == 0

    def report(self) -> bytes:
        """The report as it was some seconds ago at most: many may request it."""
        now_s = time.monotonic()
        if now_s - self._made_s >= MADE_EVERY_S:
            self._made, self._made_s = self._make(), now_s
        return self._made

    def _make(self) -> bytes:
        return self.history.part(self.file.context.gpu_models, self.note)

    def keep(self, *, is_last: bool = False) -> None:
        """Write the report of an attempt that runs, now and then, for an agent that follows."""
        now_s = time.monotonic()
        is_new = self._is_recorded_kind and self.history.read_to != self._kept_to
        if is_new and (is_last or now_s - self._kept_s >= KEPT_EVERY_S):
            self._kept_s, self._kept_to = now_s, self.history.read_to
            self._write(self.folder.report)

    def settle(self, run_s: float, marks: int) -> None:
        """Write the report of an attempt that has ended."""
        if not self._is_recorded_kind or not is_recorded(self.file.order.kind, run_s, marks):
            return
        if self.is_helped and not self.note and not _read(self.folder.inventory):
            self.note = LEFT_NOTHING
        self._write(self.folder.report)

    def _write(self, path: str) -> None:
        """Replace the file. A full disk costs the report and nothing else."""
        beside, data, written = f"{path}.new", self._make(), 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with suppress(OSError):
            descriptor = os.open(beside, flags, 0o600)
            try:
                written = os.write(descriptor, data)
            finally:
                os.close(descriptor)
            if written == len(data):
                os.replace(beside, path)  # noqa: PTH105 - beside the other calls of os


def read_parts(folder: TaskDir, report: bytes | None) -> RecordParts:
    """Both parts as they are now. `report`: that of an attempt whose history is in memory."""
    found = _read(folder.report) if report is None else report
    inventory = _read(folder.inventory)
    error = "" if found or inventory else "the node has no record of this attempt"
    return RecordParts(found, inventory, error)


def stored_history(folder: TaskDir) -> RunHistory:
    """What an earlier agent has read of the attempt; empty where there is nothing."""
    try:
        return RunHistory.of(report_in(_read(folder.report)))
    except BadRecord:
        return RunHistory()


def _read(path: str) -> bytes:
    """Its first bytes; empty where it is no file of ours."""
    try:
        descriptor = open_local(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        is_plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.pread(descriptor, MAX_PART_BYTES, 0) if is_plain else b""
    except OSError:  # of a damaged disk
        return b""
    finally:
        os.close(descriptor)
