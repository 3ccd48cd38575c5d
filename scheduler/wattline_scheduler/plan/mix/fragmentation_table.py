"""Cache of each node's worth to the mix: the growth of `fragmentation` at the cost of a look-up.

The free resources of a node are a *profile* (free part and class of each GPU) and a number of CPUs.
Many nodes share a profile, and allocating whole GPUs leads from one to another. So the worth of a
profile is computed once for all numbers of CPUs, on first use; the cost of a task is then the
difference of two entries. Shares of a GPU lead to ever new profiles: their cost is computed from
the nodes.

It is only a cache: the figures equal those of `fragmentation.growth`, as a property test checks.
"""

from collections.abc import Sequence

import numpy as np

from wattline_scheduler.plan.mix.fragmentation import (
    Growth,
    Prices,
    by_kind,
    growth,
    growth_of,
    worth_nano,
)
from wattline_scheduler.plan.model.columns import NO_CLASS, WHOLE_MILLI, Columns
from wattline_scheduler.plan.model.task_request import Ask
from wattline_scheduler.power.topology.matrix import Ints

Profile = tuple[tuple[int, ...], tuple[int, ...]]
"""Free thousandths and class of each GPU; both 0 where nothing is free."""

MAX_PROFILES = 8_192
"""Cached profiles, or four per node if that is more, before all are dropped: 1.5 kB each where
nodes have 192 CPUs."""

NOWHERE = 0
"""The profile to which a task leads if its GPUs are not free."""

UNKNOWN = -1


class Worths:
    """Numbered profiles, task transitions between them, and the worth of each at given prices."""

    def __init__(self, columns: Columns, of: Prices) -> None:
        self.of = of
        self._slot_count = columns.slot_count
        self._cpus: Ints = np.arange(int(columns.cpus.max(initial=0)) + 1)
        self._max_profiles = max(MAX_PROFILES, 4 * columns.node_count)
        self.profile: Ints = np.zeros(columns.node_count, np.int64)
        """[node] number of its profile."""
        self.worth_now: Ints = np.zeros(columns.node_count, np.int64)
        """[node] in billionths of a GPU, as is the next."""
        self._forget()

    def _forget(self) -> None:
        nothing: Profile = ((0,) * self._slot_count,) * 2
        self._numbers: dict[Profile, int] = {}
        self._profiles = [nothing]
        self._seen: dict[bytes, int] = {}
        """Profile numbers by free part and class, slot by slot."""
        self.worth: Ints = np.zeros((1, len(self._cpus)), np.int64)
        """[profile, CPUs]"""
        self._leads: dict[tuple[int, tuple[bool, ...]], Ints] = {}
        """By number of GPUs and suitable classes: [profile] number of the resulting profile."""

    def is_for(self, columns: Columns, of: Prices) -> bool:
        """Whether it is valid for nodes of this size, at these prices."""
        most_cpus = int(columns.cpus.max(initial=0))
        has_room = self._slot_count == columns.slot_count and most_cpus < len(self._cpus)
        return self.of is of and has_room

    def follow(self, columns: Columns, at: Sequence[int]) -> None:
        """Update the nodes that have changed."""
        if len(self._profiles) + len(self._seen) + len(at) > self._max_profiles:
            self._forget()
            at = range(columns.node_count)
        free, classes, seen = columns.free_milli, columns.gpu_class, self._seen
        cpus_free = columns.cpus_free
        for one in at:
            key = free[one].tobytes() + classes[one].tobytes()
            number = seen.get(key)
            if number is None:
                profile = _profile(free[one].tolist(), classes[one].tolist())
                number = seen[key] = self._number(profile)
            self.profile[one] = number
            self.worth_now[one] = self.worth[number, max(0, cpus_free.item(one))]

    def growth(self, columns: Columns, ask: Ask, at: Ints) -> Growth:
        """As `fragmentation.growth`, for up-to-date nodes that the task fits on."""
        if ask.is_share:
            return growth(columns, ask, self.of, at)
        after = self._after(ask, self.profile[at])
        cpus_left = np.maximum(columns.cpus_free[at] - ask.cpus, 0)
        lost_nano = self.worth_now[at] - self.worth[after, cpus_left]
        return Growth(growth_of(lost_nano), None)

    def _number(self, profile: Profile) -> int:
        known = self._numbers.get(profile)
        if known is None:
            known = self._numbers[profile] = len(self._profiles)
            self._profiles.append(profile)
            if known >= len(self.worth):
                self.worth = np.pad(self.worth, ((0, known), (0, 0)))
            free, classes = (np.array([part], np.int32) for part in profile)
            kinds = by_kind(free, classes, self.of.mix)
            self.worth[known] = worth_nano(kinds, self._cpus, self.of)
        return known

    def leads(self, ask: Ask) -> Ints | None:
        """[profile] number of the profile after allocating the task's GPUs; `UNKNOWN` = not
        computed yet. None: the task takes no GPUs."""
        if not ask.gpus:
            return None
        key = ask.gpus, ask.suited
        leads = self._leads.get(key)
        if leads is None or len(leads) < len(self._profiles):
            leads = self._leads[key] = _longer(leads, len(self._profiles))
        return leads

    def _after(self, ask: Ask, profile: Ints) -> Ints:
        """Number of the profile that each leads to after allocating the task's GPUs."""
        leads = self.leads(ask)
        if leads is None:
            return profile
        after: Ints = leads[profile]
        if np.minimum.reduce(after, initial=0) == UNKNOWN:
            for number in np.unique(profile[after == UNKNOWN]).tolist():
                left = _left(self._profiles[number], ask)
                leads[number] = NOWHERE if left is None else self._number(left)
            after = leads[profile]
        return after


def _longer(leads: Ints | None, count: int) -> Ints:
    longer: Ints = np.full(2 * count, UNKNOWN, np.int64)
    if leads is not None:
        longer[: len(leads)] = leads
    return longer


def _profile(free_milli: Sequence[int], classes: Sequence[int]) -> Profile:
    """The slot order decides which GPUs are taken first; within one class it is irrelevant."""
    present = [n if free else NO_CLASS for free, n in zip(free_milli, classes, strict=True)]
    kinds = set(present) - {NO_CLASS}
    if len(kinds) > 1:
        return tuple(free_milli), tuple(present)
    return tuple(sorted(free_milli, reverse=True)), tuple(sorted(present, reverse=True))


def _left(profile: Profile, ask: Ask) -> Profile | None:
    """The profile after allocating the task; None = its GPUs are not free."""
    free_milli, classes = list(profile[0]), profile[1]
    fitting = [
        slot
        for slot, free in enumerate(free_milli)
        if free == WHOLE_MILLI and ask.is_suited[classes[slot]]
    ]
    if len(fitting) < ask.gpus:
        return None
    for slot in fitting[: ask.gpus]:
        free_milli[slot] = 0
    return _profile(free_milli, classes)
