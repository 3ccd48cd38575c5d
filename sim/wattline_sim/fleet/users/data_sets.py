"""Jobs that read data sets, and the caches of nodes: what a task reads is there when it starts.

The fetch processes are models that outlive agents, as the real ones do: they take lists, are slow,
find stores away, and drop what is neither listed nor in use. A copy that is not on a list may be
damaged; it is examined when it comes onto one.
"""

import random
from collections.abc import Callable, Mapping

import msgspec

from wattline_protocol.data.references import version_text
from wattline_protocol.ids import NodeId, UnixTime, UserName
from wattline_protocol.job.spec import DataSpec, JobSpec
from wattline_protocol.wire.agents.data_messages import (
    CacheReport,
    DataHeld,
    DataToHold,
    HoldOrder,
)
from wattline_protocol.wire.task_order import TaskOrder
from wattline_scheduler.data_record import DataSetRecord, DataVersionRecord
from wattline_scheduler.records import Record
from wattline_sim.fleet.machine import Machine
from wattline_sim.fleet.users.outputs import Outputs
from wattline_sim.fleet.users.reserving import CLIENT
from wattline_sim.fleet.world import START_UNIX_S, World

SHARE = 0.15
"""Of the seeds."""
CACHE_BYTES = 10 * 10**9
SETS = ("words", "images")
VERSIONS = 2
MADE = "features"
"""What jobs make."""
FETCH_S = (0.2, 15.0)
AWAY_S = 5.0
STORE = "/srv/data"


class StartedWithoutData(AssertionError):
    """A task began without what it reads, or lost it."""


class Cache:
    """One node's fetch process and folder."""

    def __init__(self, world: World, machine: Machine, dice: random.Random) -> None:
        self._world, self._machine, self._dice = world, machine, dice
        self._listed: dict[str, DataToHold] = {}
        self._in_use: frozenset[str] = frozenset()
        self._states: dict[str, DataHeld] = {}
        self._copies: set[str] = set()
        self._damaged: set[str] = set()
        self.on_change: Callable[[], None] = lambda: None
        self._outputs = Outputs(world, machine, dice)
        self._outputs.on_change = lambda: self.on_change()

    def obey(self, order: HoldOrder) -> None:
        """Take the whole lists."""
        self._outputs.obey(order.outputs)
        before, self._in_use = self._listed, frozenset(order.in_use)
        self._listed = {one.manifest_sha256: one for one in order.versions}
        for name in sorted(self._copies - self._listed.keys() - self._in_use):
            self._leave_alone(name)
        for name, one in self._listed.items():
            if name not in before:
                self._examine(one)
        for name in [name for name in self._states if name not in self._listed]:
            del self._states[name]

    def _leave_alone(self, name: str) -> None:
        """Nothing holds it any more: others may need its room, or something damages it."""
        fate = self._dice.choice(("stays", "leaves", "damaged"))
        if fate == "leaves":
            self._remove(name)
        elif fate == "damaged":
            self._damaged.add(name)

    def _remove(self, name: str) -> None:
        for ref, process in self._machine.processes.items():
            read = {one.manifest_sha256 for one in process.order.data}
            if process.exit is None and name in read:
                raise StartedWithoutData(f"{ref} on {self._machine.node} loses {name[:8]}")
        self._copies.discard(name)
        self._damaged.discard(name)

    def _examine(self, one: DataToHold) -> None:
        name = one.manifest_sha256
        if name in self._damaged and name not in self._in_use:
            self._remove(name)
        if name in self._copies:
            self._set(one, "ready")
            return
        self._set(one, "fetching")
        self._world.after(self._dice.uniform(*FETCH_S), lambda: self._arrive(one))

    def _arrive(self, one: DataToHold) -> None:
        name = one.manifest_sha256
        if name not in self._listed or name in self._copies:
            return
        if self._dice.random() < 0.3:
            self._set(one, "waiting")
            self._world.after(AWAY_S, lambda: self._arrive(one))
        else:
            self._copies.add(name)
            self._set(one, "ready")
        self.on_change()

    def _set(self, one: DataToHold, state: str) -> None:
        self._states[one.manifest_sha256] = msgspec.convert(
            {"manifest_sha256": one.manifest_sha256, "state": state, "total_bytes": one.bytes},
            DataHeld,
        )

    def report(self) -> CacheReport:
        """As its fetch process would say."""
        listed = tuple(
            msgspec.structs.replace(
                held, asked=self._listed[name].asked, listing=self._listed[name].listing
            )
            for name, held in self._states.items()
        )
        rest = sorted(self._copies - self._states.keys())
        held = (*listed, *(DataHeld(name, "ready") for name in rest))
        return CacheReport(held, CACHE_BYTES, 0, outputs=self._outputs.report())

    def check(self, order: TaskOrder) -> None:
        """A task starts. Raises StartedWithoutData."""
        self._outputs.begin(order)
        for one in order.data:
            name = one.manifest_sha256
            if name not in self._copies or name in self._damaged:
                raise StartedWithoutData(f"{order.ref} on {self._machine.node}: {one.reference}")


class DataSets:
    """The sets of one run, who reads them, and the caches of its nodes."""

    def __init__(
        self, world: World, machines: Mapping[NodeId, Machine], dice: random.Random
    ) -> None:
        self._world, self._dice = world, dice
        self.is_wanted = dice.random() < SHARE
        self.caches = {
            node: Cache(world, machine, dice)
            for node, machine in machines.items()
            if self.is_wanted
        }

    def records(self) -> list[Record]:
        """What was registered before the run."""
        found: list[Record] = []
        made, ada = UnixTime(START_UNIX_S), UserName("ada")
        for name in SETS if self.is_wanted else ():
            found.append(DataSetRecord(name, "dataset", ada, STORE, made))
            for number in range(1, VERSIONS + 1):
                sha256, size = f"{SETS.index(name)}{number}".rjust(64, "0"), number * 10**9
                about = (name, number, sha256, 1, size, size)
                found.append(DataVersionRecord(*about, made, ada, "published"))
        if self.is_wanted:
            found.append(DataSetRecord(MADE, "dataset", UserName(CLIENT), STORE, made))
        return found

    def with_data(self, spec: JobSpec) -> JobSpec:
        """Some jobs read some of it, and some make a version."""
        if not self.is_wanted or self._dice.random() < 0.3:
            return spec
        names = [name for name in SETS if self._dice.random() < 0.7]
        versions = [version_text(name, self._dice.randint(1, VERSIONS)) for name in names]
        is_one = spec.kind != "service" and spec.array is None
        makes = MADE if is_one and self._dice.random() < 0.5 else ""
        return msgspec.structs.replace(spec, data=DataSpec(tuple(versions), makes=makes))
