"""GPUs in MIG mode: who divides them, which jobs want devices of them, and what is on record.

Half of all sites have some. Its dice are its own, so that a site without them runs exactly as it
would if there were none. Operators divide a GPU in MIG mode anew at any time, around the devices
that are in use, as drivers let them; MIG mode itself is turned on and off only while a host boots.
"""

import functools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from wattline_protocol.ids import NodeId
from wattline_protocol.job.spec import WHOLE_GPU, JobSpec
from wattline_protocol.wire.mig import MigInstance
from wattline_scheduler.records import AttemptRecord, Record
from wattline_sim.fleet.disk import Key, key_of
from wattline_sim.fleet.machine import Gpu, Machine
from wattline_sim.fleet.story import Story
from wattline_sim.fleet.truth import GivenTwice
from wattline_sim.fleet.world import World
from wattline_sim.mig import COMPUTE_SLICES, MEMORY_SLICES, Profile, profiles
from wattline_sim.profiles import gpu_model

PROFILES = profiles(gpu_model("h100"))
LAYOUTS = (
    ("3g.40gb", "3g.40gb"),
    ("4g.40gb", "2g.20gb", "1g.10gb"),
    ("2g.20gb", "2g.20gb", "2g.20gb", "1g.10gb"),
    ("1g.10gb",) * COMPUTE_SLICES,
    ("3g.40gb",),
)
SITES_SHARE, JOBS_SHARE = 0.5, 0.5
MOST_DIVIDED = 2
"""Of the GPUs of a node, so that each has whole ones left."""
MEAN_S = 10.0
BOOT_ANEW_SHARE, BOOT_WHOLE_SHARE = 0.7, 0.4
"""Of boots that find a GPU otherwise than it was; of those, with MIG mode off."""

Division = tuple[str, ...] | None
"""Profiles of a GPU's MIG devices; None = it is not in MIG mode."""


class Dividing:
    """What operators of one site do about MIG."""

    def __init__(
        self, world: World, story: Story, machines: Mapping[NodeId, Machine], dice: random.Random
    ) -> None:
        self._world, self._story, self._dice = world, story, dice
        self._machines = machines
        self._first: dict[tuple[NodeId, int], Division] = {}
        """How the run began; so it is again once everything is healed."""
        self._is_over = False
        if dice.random() < SITES_SHARE:
            for machine in machines.values():
                self._divide_some(machine)
        self._common = self._profiles_of_two()

    def begin(self) -> None:
        """Until it is over, divide one anew now and then."""
        if self._first:
            self._world.after(self._dice.expovariate(1.0 / MEAN_S), self._again)

    def with_devices(self, spec: JobSpec) -> JobSpec:
        """The job as its user submits it where GPUs are divided: some want a MIG device; nobody
        wants more whole GPUs than every node has.
        """
        asked = spec.resources
        if not self._first:
            return spec
        wants = self._dice.random() < JOBS_SHARE and spec.limits.idle_gpu is None
        if wants and self._common:
            profile = self._dice.choice(self._common)
            asked = msgspec.structs.replace(
                asked, gpus_per_node=1, gpu_share_permille=WHOLE_GPU, mig=profile
            )
        else:
            most = min(self._whole(machine) for machine in self._machines.values())
            asked = msgspec.structs.replace(asked, gpus_per_node=min(asked.gpus_per_node, most))
        return msgspec.structs.replace(spec, resources=asked)

    def heal(self, reboot: Callable[[NodeId], None]) -> None:
        """Everything is divided as it was: hosts whose GPUs have another mode boot for it."""
        self._is_over = True
        for node, machine in self._machines.items():
            firsts = [(gpu, self._first[node, gpu.index]) for gpu in self._divisible(machine)]
            if any((gpu.mig is None) != (first is None) for gpu, first in firsts):
                reboot(node)
            else:
                self._divide_when_free(machine)

    # --- operators ----------------------------------------------------------------------

    def _divide_some(self, machine: Machine) -> None:
        for gpu in self._dice.sample(list(machine.gpus.values()), MOST_DIVIDED):
            division = None if self._dice.random() < 0.3 else self._dice.choice(LAYOUTS)
            self._first[machine.node, gpu.index] = division
            divide(machine, gpu, division)
        machine.on_boot = functools.partial(self._booted, machine)

    def _divisible(self, machine: Machine) -> list[Gpu]:
        return [gpu for gpu in machine.gpus.values() if (machine.node, gpu.index) in self._first]

    def _whole(self, machine: Machine) -> int:
        return len(machine.gpus) - len(self._divisible(machine))

    def _profiles_of_two(self) -> list[str]:
        """Of devices that at least two nodes have, so that a gang of two can have them."""
        there = {(node, name) for (node, _), names in self._first.items() for name in names or ()}
        nodes = Counter(name for _, name in there)
        return sorted(name for name, count in nodes.items() if count > 1)

    def _again(self) -> None:
        if self._is_over:
            return
        divided = [
            (machine, gpu)
            for machine in self._machines.values()
            for gpu in self._divisible(machine)
            if machine.is_up and gpu.mig is not None
        ]
        if divided:
            self._divide(*self._dice.choice(divided), self._dice.choice(LAYOUTS))
        self._world.after(self._dice.expovariate(1.0 / MEAN_S), self._again)

    def _divide(self, machine: Machine, gpu: Gpu, division: Division) -> None:
        divide(machine, gpu, division)
        said = "none" if gpu.mig is None else ", ".join(one.uuid for one in gpu.mig)
        self._story.fault(self._world.now_s, "divided", f"{machine.node} GPU {gpu.index}: {said}")

    def _booted(self, machine: Machine) -> None:
        for gpu in self._divisible(machine):
            if self._is_over:
                self._divide(machine, gpu, self._first[machine.node, gpu.index])
            elif self._dice.random() < BOOT_ANEW_SHARE:
                is_whole = self._dice.random() < BOOT_WHOLE_SHARE
                self._divide(machine, gpu, None if is_whole else self._dice.choice(LAYOUTS))

    def _divide_when_free(self, machine: Machine) -> None:
        """As soon as no device is in use that the first division does not have."""
        for gpu in self._divisible(machine):
            first = self._first[machine.node, gpu.index]
            divide(machine, gpu, first)
            if sorted(one.profile for one in gpu.mig or ()) != sorted(first or ()):
                self._world.after(1.0, lambda: self._divide_when_free(machine))


def divide(machine: Machine, gpu: Gpu, division: Division) -> None:
    """Make these devices, as far as there are slices beside those in use, which stay; MIG mode is
    turned on or off with them.
    """
    if division is None:
        gpu.mig = None
        return
    in_use = machine.devices_in_use(gpu)
    kept = [one for one in gpu.mig or () if one.uuid in in_use]
    wanted = Counter(division) - Counter(one.profile for one in kept)
    free = COMPUTE_SLICES - sum(PROFILES[one.profile].slices for one in kept)
    parts = MEMORY_SLICES - sum(PROFILES[one.profile].memory_slices for one in kept)
    taken = {one.uuid for one in kept}
    for name in wanted.elements():
        profile = PROFILES[name]
        if profile.slices <= free and profile.memory_slices <= parts:
            one = _made(machine, gpu, profile, taken)
            free, parts = free - profile.slices, parts - profile.memory_slices
            taken.add(one.uuid)
            kept.append(one)
    gpu.mig = tuple(kept)


def _made(machine: Machine, gpu: Gpu, profile: Profile, taken: Iterable[str]) -> MigInstance:
    """The driver names one by its GPU, its place and its profile, so names come back."""
    names = (f"MIG-{machine.node}-{gpu.index}-{n}-{profile.name}" for n in range(COMPUTE_SLICES))
    return MigInstance(
        uuid=next(name for name in names if name not in taken),
        profile=profile.name,
        memory_bytes=profile.memory_bytes,
        share_permille=slices_permille(profile.name),
    )


def slices_permille(profile: str) -> int:
    """Of a GPU's compute slices, those of a device of this profile."""
    return PROFILES[profile].slices * WHOLE_GPU // COMPUTE_SLICES


def check_devices(before: Mapping[Key, Record], written: Sequence[Record]) -> None:
    """Raise if a transaction puts on record that a MIG device is given to who begins, and to
    another one whose end is not on record.
    """
    begun = [
        r
        for r in written
        if isinstance(r, AttemptRecord) and r.mig is not None and key_of(r) not in before
    ]
    if not begun:
        return
    tries = {key: r for key, r in before.items() if isinstance(r, AttemptRecord)}
    tries |= {key_of(r): r for r in written if isinstance(r, AttemptRecord)}
    held = Counter(r.mig.uuid for r in tries.values() if r.mig and r.ended_unix_s is None)
    for one in begun:
        if one.mig is not None and held[one.mig.uuid] > 1:
            raise GivenTwice(f"MIG device {one.mig.uuid} is given to {one.ref} and to another one")
