"""Proposals about jobs. Only jobs that an act changes are named, counted and sent."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import Selection, Span
from wattline_protocol.text.wording import joined, listed
from wattline_protocol.views.site_views import ENDED_STATES, JobView
from wattline_protocol.wire.client_messages import Cancel, Hold, OnJobs, Release, Requeue, Update
from wattline_tui.acts.proposal import Proposal
from wattline_tui.model import View

ACTIVE = ("STARTING", "RUNNING", "PAUSED")
PLURALS = {"is": "are", "has": "have"}

WhyNot = Callable[[JobView], str]
"""Why an act leaves a job as it is, as `has ended`; empty: it changes it."""


@dataclass(frozen=True, slots=True)
class _Meant:
    """The jobs that an act changes."""

    jobs: tuple[JobId, ...]
    known: tuple[JobView, ...]
    """Those of them that the snapshot has."""
    others: str
    """A sentence on the chosen jobs that it leaves as they are; empty: there are none."""

    @property
    def name(self) -> str:
        """Number, name and owner; of several how many there are of each owner."""
        if len(self.jobs) == 1:
            return job_name(self.known, self.jobs[0])
        owners = Counter(one.owner for one in self.known).most_common(3)
        of = ", ".join(f"{count} of {owner}" for owner, count in owners)
        return f"{len(self.jobs)} jobs ({of or listed(self.jobs, 3)})"

    @property
    def active(self) -> int:
        """How many of them have GPUs."""
        return sum(one.state in ACTIVE for one in self.known)


def job_name(known: Sequence[JobView], job_id: JobId) -> str:
    """Number, name and owner, as far as the snapshot has them."""
    job = next((one for one in known if one.id == job_id), None)
    return f"job {job_id}" + (f" ({job.name}, {job.owner})" if job is not None else "")


def these(jobs: Sequence[JobId]) -> Selection:
    """They alone, whatever their states."""
    return Selection(tuple(Span(job, job) for job in jobs))


def cancel(view: View, jobs: Sequence[JobId]) -> Proposal:
    """Running tasks end by stop notice. Raises ValueError if all have ended."""
    meant = _meant(view, jobs, _has_ended)
    active, others = meant.active, len(meant.jobs) - meant.active
    ends = "gets its stop notice now and is killed after its grace period."
    if len(meant.jobs) == 1:
        effect = f"It {ends}" if active else "It will not start."
    else:
        stopped = f"{_run(active)}: {'it' if active == 1 else 'each'} {ends} "
        effect = (stopped if active else "") + (f"{others} will not start." if others else "")
    return _on_jobs("Cancel", meant, effect, Cancel)


def hold_or_release(view: View, jobs: Sequence[JobId]) -> Proposal:
    """Releases if all that are open are held; otherwise holds the others. Raises ValueError."""
    held = [one.state == "HELD" for one in _of(view, jobs) if not _has_ended(one)]
    if held and all(held):
        meant = _meant(view, jobs, _has_ended)
        may = "It may" if len(meant.jobs) == 1 else "They may"
        return _on_jobs("Release", meant, f"{may} start.", Release)
    meant = _meant(view, jobs, lambda one: _has_ended(one) or _is_held(one))
    return _on_jobs("Hold", meant, "Running tasks continue; no others start.", Hold)


def requeue(view: View, jobs: Sequence[JobId], token: str) -> Proposal:
    """Running tasks are stopped and run again, others are queued again. Raises ValueError."""
    meant = _meant(view, jobs, _is_not_requeued)
    active, others = meant.active, len(meant.jobs) - meant.active
    stopped = f"{_run(active)}: stopped, and started again from the newest checkpoint. "
    again = f"{others} {'is' if others == 1 else 'are'} queued again at once. "
    effect = f"{stopped if active else ''}{again if others else ''}No retry is used."
    return _on_jobs("Requeue", meant, effect, lambda which: Requeue(which, token))


def priority(view: View, jobs: Sequence[JobId], typed: str) -> Proposal:
    """Their place in the queue. Raises ValueError if all have ended."""
    meant = _meant(view, jobs, _has_ended)
    now = sorted({one.priority for one in meant.known})
    is_now = (
        f"{'It is' if len(meant.jobs) == 1 else 'They have'} {listed(now)} now. " if now else ""
    )
    return _on_jobs(
        f"Set the priority to {typed} of",
        meant,
        f"{is_now}Pending jobs of higher priority start first.",
        lambda which: Update(which, {"priority": typed}),
    )


def _run(count: int) -> str:
    return f"{count} {'runs' if count == 1 else 'run'}"


def _on_jobs(verb: str, meant: _Meant, effect: str, of: Callable[[Selection], OnJobs]) -> Proposal:
    lines = [f"{verb} {meant.name}?", effect.rstrip(), *filter(None, [meant.others])]
    return Proposal("\n".join(lines), (of(these(meant.jobs)),))


# --- which jobs an act changes ----------------------------------------------------------------


def _meant(view: View, jobs: Sequence[JobId], why_not: WhyNot) -> _Meant:
    """Those of `jobs` that an act changes; one that the snapshot lacks is left to the scheduler.
    Raises ValueError if it changes none."""
    known = {one.id: one for one in _of(view, jobs)}
    reasons = {job: why_not(known[job]) if job in known else "" for job in jobs}
    meant = tuple(job for job, why in reasons.items() if not why)
    left = Counter(why for why in reasons.values() if why)
    if not meant and len(jobs) == 1:
        raise ValueError(f"{job_name(tuple(known.values()), jobs[0])} {reasons[jobs[0]]}")
    parts = [_counted(count, why) for why, count in left.items()]
    if not meant:
        raise ValueError(f"it changes none of the {len(jobs)} jobs: {joined(parts)}")
    others = f"Not changed: {joined(parts)}." if parts else ""
    return _Meant(meant, tuple(known[job] for job in meant if job in known), others)


def _of(view: View, jobs: Sequence[JobId]) -> list[JobView]:
    """Those that the snapshot has."""
    wanted = set(jobs)
    return [one for one in view.site.jobs if one.id in wanted] if view.site else []


def _counted(count: int, why: str) -> str:
    """`1 has ended`, `2 have ended`."""
    verb, _, rest = why.partition(" ")
    return f"{count} {verb if count == 1 else PLURALS[verb]} {rest}"


def _has_ended(one: JobView) -> str:
    return "has ended" if one.state in ENDED_STATES else ""


def _is_held(one: JobView) -> str:
    return "is held already" if one.state == "HELD" else ""


def _is_not_requeued(one: JobView) -> str:
    """One that has run may wait for its next try: a requeue queues it at once."""
    if one.state == "COMPLETED":
        return "has completed"
    if one.state == "HELD" and not one.gangs_ended:
        return "is held"
    return "is queued already" if one.state == "PENDING" and not one.attempt_count else ""
