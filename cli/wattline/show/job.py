"""One job in full, and why it is pending."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wattline.first_failure import FirstFailure, first_failure
from wattline.show import units
from wattline.show.jobs import elapsed_s
from wattline.show.styles import state
from wattline.show.tables import Cell, Column, Listing, facts
from wattline_protocol.ids import NodeId
from wattline_protocol.job.change import asked_for
from wattline_protocol.job.spec import JobSpec, Limits
from wattline_protocol.lists.job_table import NODES_SHOWN, progress, where_or_why
from wattline_protocol.text.quantities import format_cost, format_duration, format_energy
from wattline_protocol.text.wording import about_size, counted, digits, elapsed, energy, listed
from wattline_protocol.views.site_views import (
    ENDED_STATES,
    AttemptView,
    ExplainView,
    JobState,
    JobView,
)
from wattline_protocol.views.training_views import CheckpointView
from wattline_protocol.wire.agent_messages import TaskExit

OWN_LINE = {"name", "kind", "command", "queue", "account", "priority", "hold"}
"""Keys of a job file that the facts of a job show otherwise."""

ATTEMPTS_SHOWN = 50
"""The newest attempts; `--json` has them all."""

STOPPED: tuple[JobState, ...] = ("CANCELLED", "PREEMPTED")
"""Attempts of a job that continues: what torchrun logs at a stop signal reads like a failure."""


def detail(job: JobView) -> RenderableType:
    """Everything about one job."""
    newest = job.attempts[-ATTEMPTS_SHOWN:]
    parts: list[RenderableType] = [facts(_facts(job)), Text(""), _attempts(newest, job.spec)]
    if len(newest) < len(job.attempts):
        parts.append(Text(f"… the newest {len(newest)} of {counted(len(job.attempts), 'attempt')}"))
    parts += _notes(newest)
    failure = first_failure(job.attempts, job.spec)
    parts += [_failure_line(failure)] if failure is not None else []
    stopped = () if job.state in ENDED_STATES else STOPPED
    others = [attempt for attempt in job.attempts if attempt.state not in stopped]
    telling = telling_attempt(others, failure)
    parts += [_log_tail(telling)] if telling is not None else []
    return Group(*parts)


def telling_attempt(
    attempts: Sequence[AttemptView], failure: FirstFailure | None
) -> AttemptView | None:
    """The attempt with the most useful last lines: the first that failed, else the last that ended.

    None: no log was ended.
    """
    ended = [a for a in attempts if a.exit is not None and a.exit.log_tail]
    if failure is not None and failure.attempt in ended:
        return failure.attempt
    return max(ended, key=lambda a: a.ended_unix_s or 0.0, default=None)


def _failure_line(failure: FirstFailure) -> RenderableType:
    first = failure.attempt
    place = f"{first.node} (task {first.task}, attempt {first.attempt})"
    error = failure.error or ending(first.exit)
    return Text(f"\nFirst failed: rank {failure.rank} on {place}: {error}", style="bold")


def _facts(job: JobView) -> list[tuple[str, Cell]]:
    pairs: list[tuple[str, Cell]] = [
        ("job", f"{job.id} {job.name}"),
        ("state", state(job.state)),
        ("where / why", where_or_why(job)),
        ("kind", job.kind),
        ("owner", f"{job.owner}, account {job.account}" if job.account else job.owner),
        ("queue", f"{job.queue}, priority {job.priority}"),
        ("submitted", units.clock(job.submitted_unix_s)),
        ("started", units.clock(job.started_unix_s)),
        ("ended", units.clock(job.ended_unix_s)),
        ("elapsed", units.seconds(elapsed_s(job))),
        *_expected(job),
        ("tasks", progress(job)),
        ("GPUs", job.gpu_count),
        ("GPU time", f"{digits(job.gpu_hours)} GPU-h"),
        ("energy", _used(job)),
        ("utilisation", f"{units.share(job.utilisation)}, {job.verdict}"),
        *([("diagnosis", job.diagnosis.sentence)] if job.diagnosis is not None else []),
        ("time limited by cap", f"{job.cap_bound_gpu_s:.0f} GPU-s"),
    ]
    if job.exit_code is not None:
        pairs.append(("exit code", str(job.exit_code)))
    if job.metrics:
        shown = ", ".join(f"{name} {value:g}" for name, value in sorted(job.metrics.items()))
        pairs.append(("metrics", shown))
    if job.checkpoint is not None:
        pairs.append(("checkpoint", _checkpoint(job.checkpoint)))
    if job.made:
        pairs.append(("made", job.made))
    if job.spec is not None:
        pairs += [*_asked_for(job.spec), *_grace(job)]
        pairs.append(("command", " ".join(job.spec.command)))
    return pairs


def _checkpoint(newest: CheckpointView) -> str:
    """The newest one that is known to be published."""
    size, saved_at = about_size(newest.bytes), units.clock(newest.saved_unix_s)
    text = f"step {newest.step}, {saved_at}, {size} in {digits(newest.save_s)} s"
    text += f", every {elapsed(newest.every_s)}" if newest.every_s else ""
    return "; ".join([text, *_stored(newest)])


def _stored(newest: CheckpointView) -> list[str]:
    """What the store of the site has of them, and why it lacks the newest."""
    if newest.stored is None and not newest.behind_why:
        return []
    has = "none stored" if newest.stored is None else f"step {newest.stored.step} stored"
    behind = f", {newest.behind} behind" if newest.behind else ""
    why = f": {newest.behind_why}" if newest.behind_why else ""
    return [f"{has}{behind}{why}"]


def _expected(job: JobView) -> list[tuple[str, Cell]]:
    """When it will have ended, where known."""
    if job.expected_end_unix_s is None:
        return []
    return [("expected end", f"{units.clock(job.expected_end_unix_s)}, {job.expected_end_why}")]


def _asked_for(spec: JobSpec) -> list[tuple[str, Cell]]:
    """Its job file, table by table, without keys that have a line of their own."""
    rows: list[tuple[str, Cell]] = []
    for table, keys in asked_for(spec).items():
        if table:
            rows.append((table, ", ".join(f"{name} {text}" for name, text in keys.items())))
        else:
            rows += [(name, text) for name, text in keys.items() if name not in OWN_LINE]
    return rows


def _grace(job: JobView) -> list[tuple[str, Cell]]:
    """Only where it differs from the requested one."""
    if job.grace_s is None:
        return []
    return [
        ("grace", f"{format_duration(job.grace_s)}, the site's max_grace is lower than requested")
    ]


def _used(job: JobView) -> str:
    """Energy and cost so far, and their limits."""
    limits = Limits() if job.spec is None else job.spec.limits
    used, cost = energy(job.energy_kwh), units.usd(job.cost_usd)
    if limits.energy_wh:
        used += f" of {format_energy(limits.energy_wh)}"
    return f"{used}, {cost}" + (f" of {format_cost(limits.cost_usd)}" if limits.cost_usd else "")


def _attempts(attempts: tuple[AttemptView, ...], spec: JobSpec | None) -> Listing:
    return Listing(
        columns=(
            Column("TASK", [str(a.task) for a in attempts], is_right=True),
            *_indices(attempts, spec),
            Column("ATTEMPT", [str(a.attempt) for a in attempts], is_right=True, weight=1),
            Column("STATE", [state(a.state) for a in attempts]),
            Column("NODE", [a.node for a in attempts]),
            Column("GPUS", [a.places for a in attempts], weight=3),
            Column("PID", [str(a.pid or units.NOT_KNOWN) for a in attempts], True, weight=5),
            Column("RUN", [units.seconds(a.usage.run_s) for a in attempts], True, weight=2),
            Column(
                "ENERGY",
                [energy(a.usage.node_energy_mj / 3.6e9) for a in attempts],
                is_right=True,
                weight=4,
            ),
            Column("END", [ending(a.exit) for a in attempts], grows=True),
        ),
        empty="No attempts yet.",
    )


def _notes(attempts: tuple[AttemptView, ...]) -> list[RenderableType]:
    """Remarks on their starts for the user, equal ones merged."""
    found = Counter((one.node, one.note) for one in attempts if one.note)
    many = {where: f" ({count} attempts)" if count > 1 else "" for where, count in found.items()}
    return [Text(f"Note from {node}{many[node, note]}: {note}") for node, note in found]


def _indices(attempts: tuple[AttemptView, ...], spec: JobSpec | None) -> tuple[Column, ...]:
    """Of an array: the index of each, as in `job 12[5]`."""
    if spec is None or spec.array is None:
        return ()
    indices = (spec.array.indices[a.task // spec.gang_size] for a in attempts)
    return (Column("INDEX", [str(index) for index in indices], is_right=True),)


def ending(end: TaskExit | None) -> str:
    """How an attempt ended, in a few words."""
    if end is None:
        return ""
    if end.detail:
        return end.detail
    if end.signal is not None:
        return f"killed by signal {end.signal}"
    return f"exit code {end.code}" if end.code is not None else end.kind.replace("_", " ")


def _log_tail(attempt: AttemptView) -> RenderableType:
    end = attempt.exit
    tail = end.log_tail.rstrip() if end is not None else ""
    return Group(
        Text(f"\nLast lines of task {attempt.task}, attempt {attempt.attempt}:", style="bold"),
        Padding(Text(tail), (0, 0, 0, 2)),
    )


def explanation(why: ExplainView) -> RenderableType:
    """The reason, the start time, each filter that refused nodes, and remedies."""
    parts: list[RenderableType] = [Text(_sentence(why))]
    if why.nodes_needed:  # none: it has its nodes
        feasible = f"{why.nodes_feasible} of {counted(why.nodes_total, 'node')} could take it now"
        parts += [Text(f"{feasible}, {why.nodes_needed} needed."), Text(_start(why))]
    if why.place is not None:
        parts += [Text(line) for line in why.place.lines]
    if why.refusals:
        parts += [
            Text(""),
            Listing(
                columns=(
                    Column("REFUSED BY", [r.filter for r in why.refusals]),
                    Column("NODES", [str(r.nodes_refused) for r in why.refusals], is_right=True),
                    Column("WHAT IS MISSING", [r.missing for r in why.refusals], grows=True),
                ),
                empty="",
            ),
        ]
    if why.remedies:
        parts += [Text("\nWhat would let it start now:", style="bold")]
        parts += [Text(f"  {remedy.text}") for remedy in why.remedies]
    return Group(*parts)


def _sentence(why: ExplainView) -> str:
    if not why.job and why.start_nodes:
        return f"It would start now on {_named(why.start_nodes)}."
    name = f"Job {why.job} is" if why.job else "If submitted now, it would be"
    return f"{name} {why.state}: {why.reason}" if why.reason else f"{name} {why.state}."


def _named(nodes: Sequence[NodeId]) -> str:
    return listed(list(dict.fromkeys(nodes)), NODES_SHOWN)


def _start(why: ExplainView) -> str:
    if why.start_nodes:
        return f"Start: now, on {_named(why.start_nodes)}: {why.start_why}."
    if why.start_unix_s is None:
        return f"Start: {why.start_why}."
    return f"Start: about {units.clock_in_zone(why.start_unix_s)}, {why.start_why}."
