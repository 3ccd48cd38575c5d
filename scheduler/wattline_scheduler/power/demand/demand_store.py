"""Learned draw of each kind of job (fingerprint): bounded and persistent.

A record lives in a numbered slot. A new fingerprint takes an unused slot or that of the least
recently seen kind of job, so memory and disk stay bounded without deletions.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass

from wattline_protocol.ids import Instant, UnixTime
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.power.demand.draw_distribution import (
    Draw,
    fresh_draw,
    is_enough,
    restored_draw,
)
from wattline_scheduler.records import DemandRecord

MAX_LEARNED = 8_192
"""Kinds of jobs retained: about 16 MiB; a site has hundreds."""

SAVE_EVERY_S = 300.0
"""Save interval while a kind of job runs; a crash of the scheduler loses what was learned since."""

NO_SLOT = -1
"""All slots belong to running jobs: what this one learns is not saved."""


SEPARATOR = "/"
"""Between the kind of job and the GPU model in a fingerprint."""


def kind_of(fingerprint: str) -> str:
    """The fingerprint without the GPU model."""
    return fingerprint.partition(SEPARATOR)[0]


@dataclass(slots=True, eq=False)
class Learned:
    """One kind of job on one GPU model."""

    fingerprint: str
    label: str
    slot: int
    draw: Draw
    steepness_permille: int = PERMILLE
    """How much more (or less) a cap slows this job than its GPU's curve predicts."""
    holders: int = 0
    """Number of GPUs that run it now."""
    is_watched: bool = False
    """Whether it is saved periodically."""
    saved: tuple[int, int, int] = (0, 0, PERMILLE)
    """`counts` when it was last saved."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Changes with every update of what is learned."""
        return self.draw.samples, self.draw.beyond, self.steepness_permille


def unnamed(gpu: GpuInfo) -> Learned:
    """A temporary entry that is never saved."""
    return Learned("", "", NO_SLOT, fresh_draw(gpu.cap_max_mw, gpu.idle_mw))


class Memory:
    """All known kinds of jobs, least recently used first."""

    def __init__(self, saved: tuple[DemandRecord, ...]) -> None:
        self._saved = {record.fingerprint: record for record in saved[-MAX_LEARNED:]}
        self._learned: OrderedDict[str, Learned] = OrderedDict()
        self._oldest = OrderedDict.fromkeys(
            r.fingerprint for r in sorted(self._saved.values(), key=lambda r: r.seen_unix_s)
        )
        """Fingerprints that own a slot and that no GPU runs, least recently used first."""
        self._models: dict[str, set[str]] = {}
        """Fingerprints of each kind of job, one per GPU model that ran it."""
        for fingerprint in self._saved:
            self._models.setdefault(kind_of(fingerprint), set()).add(fingerprint)
        self._next_slot = 1 + max((r.slot for r in self._saved.values()), default=-1)
        self._due: deque[tuple[Instant, Learned]] = deque()

    def hold(self, fingerprint: str, label: str, gpu: GpuInfo, at: Instant) -> Learned:
        """Count one more GPU that runs this kind of job."""
        learned = self._learned.get(fingerprint)
        if learned is None:
            learned = self._recall(fingerprint, label, gpu)
        learned.holders += 1
        if not learned.is_watched:
            learned.is_watched = True
            self._due.append((Instant(at + SAVE_EVERY_S), learned))
        self._oldest.pop(fingerprint, None)
        return learned

    def known_mw(self, kind: str) -> int:
        """Draw that a kind of job rarely exceeds, on any GPU model; 0 = unknown."""
        return max((self._top_mw(one) for one in sorted(self._models.get(kind, ()))), default=0)

    def _top_mw(self, fingerprint: str) -> int:
        learned, record = self._learned.get(fingerprint), self._saved.get(fingerprint)
        if learned is not None:
            return learned.draw.top_mw if learned.draw.is_known else 0
        is_known = record is not None and is_enough(record.samples, record.beyond)
        return record.p99_mw + record.width_mw if record is not None and is_known else 0

    def release(self, learned: Learned, unix_s: UnixTime) -> DemandRecord | None:
        """Count one GPU less; returns the record to save after the last one."""
        learned.holders -= 1
        if learned.holders:
            return None
        if learned.slot == NO_SLOT:
            self._drop(learned.fingerprint)
            return None
        self._oldest[learned.fingerprint] = None
        return self._record(learned, unix_s)

    def due(self, at: Instant, unix_s: UnixTime) -> list[DemandRecord]:
        """Records to save of kinds of jobs that run for long."""
        records: list[DemandRecord] = []
        while self._due and self._due[0][0] <= at:
            _, learned = self._due.popleft()
            learned.is_watched = learned.holders > 0
            if learned.is_watched:
                self._due.append((Instant(at + SAVE_EVERY_S), learned))
                record = self._record(learned, unix_s)
                records += [record] if record is not None else []
        return records

    def _recall(self, fingerprint: str, label: str, gpu: GpuInfo) -> Learned:
        draw = fresh_draw(gpu.cap_max_mw, gpu.idle_mw)
        record = self._saved.pop(fingerprint, None)
        if record is None:
            learned = Learned(fingerprint, label, self._slot(), draw)
        else:
            restored_draw(draw, record)
            learned = Learned(fingerprint, label, record.slot, draw, record.steepness_permille)
            learned.saved = learned.counts
        self._learned[fingerprint] = learned
        self._models.setdefault(kind_of(fingerprint), set()).add(fingerprint)
        return learned

    def _drop(self, fingerprint: str) -> None:
        self._learned.pop(fingerprint, None)
        self._saved.pop(fingerprint, None)
        models = self._models[kind_of(fingerprint)]
        models.discard(fingerprint)
        if not models:
            del self._models[kind_of(fingerprint)]

    def _slot(self) -> int:
        if self._next_slot < MAX_LEARNED:
            self._next_slot += 1
            return self._next_slot - 1
        if not self._oldest:
            return NO_SLOT
        fingerprint, _ = self._oldest.popitem(last=False)
        record, learned = self._saved.get(fingerprint), self._learned.get(fingerprint)
        self._drop(fingerprint)
        if learned is not None:
            return learned.slot
        return record.slot if record is not None else NO_SLOT

    def _record(self, learned: Learned, unix_s: UnixTime) -> DemandRecord | None:
        draw = learned.draw
        if learned.slot == NO_SLOT or learned.counts == learned.saved:
            return None
        learned.saved = learned.counts
        draw.refresh()
        return DemandRecord(
            slot=learned.slot,
            fingerprint=learned.fingerprint,
            label=learned.label,
            mean_mw=draw.mean_mw,
            p95_mw=draw.p95_mw,
            p99_mw=draw.p99_mw,
            ramp_mw=draw.ramp_mw,
            samples=draw.samples,
            beyond=draw.beyond,
            swing_permille=draw.swing_permille,
            steepness_permille=learned.steepness_permille,
            width_mw=draw.width_mw,
            sum_mw=draw.sum_mw,
            bins=tuple(draw.bins),
            seen_unix_s=unix_s,
        )
