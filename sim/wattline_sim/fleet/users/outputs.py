"""Outputs of jobs that make data sets: published by models of fetch processes, and the truth.

The content of an output is known by its attempt. So a version on record can be compared with what
its job has left, and a node must have an output for as long as it is to publish it.
"""

import random
from collections.abc import Callable, Sequence
from hashlib import sha256

from wattline_protocol.ids import TaskRef
from wattline_protocol.wire.agents.data_messages import OutputNow, OutputToPublish, StoredOutput
from wattline_protocol.wire.task_order import TaskOrder
from wattline_scheduler.data_record import DataVersionRecord
from wattline_scheduler.records import JobRecord, Record
from wattline_sim.fleet.machine import Machine
from wattline_sim.fleet.world import World

PUBLISH_S = (0.2, 8.0)
AWAY_S = 5.0
BYTES = 10**6
RESTORED_EPOCH = 10**6
"""Epochs of schedulers that were restored from a backup are seconds: they may publish again what
was forgotten after the backup."""


class OutputLost(AssertionError):
    """A version is not what its job left, or a node forgot an output that it is to publish."""


def content_of(run: str) -> str:
    """SHA-256 of the manifest of the output of an attempt, as `17#1`."""
    return sha256(run.encode()).hexdigest()


def check_outputs(written: Sequence[Record]) -> None:
    """Raise if a transaction has a version without the end of the job that made it, or with the
    content of another attempt."""
    made = [one for one in written if isinstance(one, JobRecord) and one.state == "COMPLETED"]
    for record in written:
        if not isinstance(record, DataVersionRecord) or record.recipe is None:
            continue
        run = next(one.name for one in record.made_from if one.kind == "run")
        if record.sha256 != content_of(run):
            raise OutputLost(f"{record.reference} is not the output of run {run}")
        if not any(one.made == record.reference for one in made):
            raise OutputLost(f"{record.reference} is on record, the end of its job {run} is not")


class Outputs:
    """Those of one node."""

    def __init__(self, world: World, machine: Machine, dice: random.Random) -> None:
        self._world, self._machine, self._dice = world, machine, dice
        self._listed: dict[TaskRef, OutputToPublish] = {}
        self._now: dict[TaskRef, OutputNow] = {}
        self._begun: dict[TaskRef, int] = {}
        """Attempts with an output, and the boot in which each began."""
        self.on_change: Callable[[], None] = lambda: None

    def begin(self, order: TaskOrder) -> None:
        """A task starts."""
        if order.has_output:
            self._begun[order.ref] = self._machine.boots

    def obey(self, outputs: Sequence[OutputToPublish]) -> None:
        """Take the whole list."""
        self._listed = {one.ref: one for one in outputs}
        self._now = {ref: now for ref, now in self._now.items() if ref in self._listed}
        for ref, order in self._listed.items():
            now = self._now.get(ref)
            stored = None if now is None else now.stored
            if self._is_gone(ref, order):
                self._now[ref] = OutputNow(ref, "gone")
            elif now is None or (stored is not None and stored.as_of != order.as_of):
                self._now[ref] = OutputNow(ref, "publishing")
                self._try(ref)

    def _is_gone(self, ref: TaskRef, order: OutputToPublish) -> bool:
        if ref in self._machine.processes:
            return False
        is_of_backup = int(order.as_of.partition(".")[0] or 0) >= RESTORED_EPOCH
        if self._begun.get(ref) == self._machine.boots and not is_of_backup:
            raise OutputLost(f"{self._machine.node} forgot {ref}, which it is to publish")
        return True

    def _try(self, ref: TaskRef) -> None:
        self._world.after(self._dice.uniform(*PUBLISH_S), lambda: self._end(ref))

    def _end(self, ref: TaskRef) -> None:
        order = self._listed.get(ref)
        if order is None or self._now[ref].stored is not None:
            return
        if self._is_gone(ref, order):
            self._now[ref] = OutputNow(ref, "gone")
        elif not order.as_of or self._dice.random() < 0.3:
            self._now[ref] = OutputNow(ref, "waiting", detail="its store is away")
            self._world.after(AWAY_S, lambda: self._end(ref))
        else:
            content = content_of(f"{ref.job}#{ref.attempt}")
            stored = StoredOutput(order.as_of, content, 1, BYTES, BYTES)
            self._now[ref] = OutputNow(ref, "stored", BYTES, BYTES, stored=stored)
        self.on_change()

    def report(self) -> tuple[OutputNow, ...]:
        """As its fetch process would say."""
        return tuple(self._now.values())
