"""The next step of a rollout: a function of its record and of observations of both revisions."""

from dataclasses import dataclass
from math import ceil
from typing import Any

import msgspec

from wattline_protocol.text.wording import counted
from wattline_protocol.wire.rollouts import BY_MODEL
from wattline_scheduler.core.model.service_traffic import Tally
from wattline_scheduler.core.rollout.rollout_gate import failing
from wattline_scheduler.records import RolloutRecord

CHECK_S = 10.0
"""Minimum time of the health gate."""

CHECK_REQUESTS = 20
"""Requests that the new revision must have had by then."""

QUIET_CHECK_S = 60.0
"""With fewer requests the gate is passed after this time."""

STEP_S = 2.0
"""Minimum time between two replicas."""

READY_WITHIN_S = 1_800.0
"""Time for a replica that runs to become ready."""

PROBE_PERMILLE = 50
"""Share of the requests during the health gate without `--canary`."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Both revisions, as the scheduler and the gateways see them."""

    silence: str
    """Why nothing is known of ready workers; empty = gateways report."""
    new_ready: int
    new_failures: int
    """Failed tries of the new revision."""
    unready_s: float
    """How long replicas of the new revision run without all being ready."""
    old_end: str
    """How the job of the old revision ended by itself; empty = it has not."""
    new_end: str
    new_wait: str
    """Why a replica of the new revision does not run; empty = all that may do."""
    old: Tally
    new: Tally
    new_compares: bool | None = None
    """Its model has the method `compare`; None = unknown."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do yet."""

    text: str
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class Advance:
    """The next step is due."""

    record: RolloutRecord
    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The old job ends, or has ended."""

    reason: str


@dataclass(frozen=True, slots=True)
class GoBack:
    """The new job ends, or has ended."""

    reason: str


Step = Wait | Advance | Finish | GoBack


def first_limits(old: int, *, is_in_place: bool) -> tuple[int, int]:
    """Replicas of the old and of the new revision that may run at the beginning."""
    return old - is_in_place, 1


def next_step(record: RolloutRecord, seen: Seen) -> Step:
    """The next step of a rollout in progress."""
    if seen.new_end:
        return GoBack(seen.new_end)
    if seen.old_end:
        return Finish(f"the old revision {seen.old_end}")
    failures = 1 + record.new_allowed // 4
    if seen.new_failures > failures:
        return GoBack(f"it does not run: {seen.new_wait or counted(seen.new_failures, 'failure')}")
    if seen.silence:
        return Wait(seen.silence, is_paused=True)
    if record.compare == BY_MODEL and record.phase != "replacing" and seen.new_compares is False:
        return GoBack("its model has no method compare(old, new), which --compare model needs")
    why = failing(seen.old, seen.new)
    if why:
        return GoBack(why)
    if seen.unready_s > READY_WITHIN_S:
        return GoBack(f"a replica is not ready {READY_WITHIN_S / 60:.0f} min after its start")
    if seen.new_ready < record.new_allowed:
        what = f"{seen.new_ready} of {counted(record.new_allowed, 'replica')} ready"
        return Wait(f"{what}; {seen.new_wait}" if seen.new_wait else what)
    return _when_ready(record, seen)


def _when_ready(record: RolloutRecord, seen: Seen) -> Step:
    match record.phase:
        case "starting":
            text = "its first replica is ready; its answers are checked"
            return Advance(_with(record, phase="checking"), text)
        case "checking":
            return _check(record, seen)
        case "waiting":
            return Wait("waits for `promote` or `back`")
        case _:
            return _replace(record, seen)


def _check(record: RolloutRecord, seen: Seen) -> Step:
    count, seconds = seen.new.requests, seen.new.seconds
    is_enough = seconds >= CHECK_S and count >= CHECK_REQUESTS
    if not is_enough and seconds < QUIET_CHECK_S:
        return Wait(f"checks its answers: {counted(count, 'request')} in {seconds:.0f} s")
    passed = f"passed its check: {counted(count, 'request')}, {counted(seen.new.errors, 'error')}"
    if record.canary_permille or record.shadow_permille:
        wanted = ceil(record.canary_permille * record.new_replicas / 1000)
        waiting = _with(record, phase="waiting", new_allowed=max(record.new_allowed, wanted))
        return Advance(waiting, f"{passed}; waits for `promote` or `back`")
    return Advance(promoted(record), passed)


def promoted(record: RolloutRecord) -> RolloutRecord:
    """The rollout once its first replica takes full part."""
    return _with(record, phase="replacing")


def _replace(record: RolloutRecord, seen: Seen) -> Step:
    """All replicas of the new revision that may run are ready: one more of it, one fewer of the
    old one, which keeps one until its job ends."""
    if seen.new.seconds < STEP_S:
        return Wait(f"{counted(seen.new_ready, 'replica')} ready")
    ready = record.new_allowed
    if ready >= record.new_replicas:
        return Finish(f"{counted(ready, 'replica')} ready")
    least = 0 if record.is_in_place else 1
    old = max(least, record.old_replicas - ready - record.is_in_place)
    old = min(record.old_allowed, old)
    text = f"{ready} of {counted(record.new_replicas, 'replica')} ready, {old} of the old revision"
    return Advance(_with(record, old_allowed=old, new_allowed=ready + 1), text)


def _with(record: RolloutRecord, **changes: Any) -> RolloutRecord:
    return msgspec.structs.replace(record, **changes)
