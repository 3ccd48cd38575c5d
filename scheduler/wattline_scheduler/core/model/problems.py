"""Problems: lasting conditions that begin once and end once, each with one event.

The API for every check that detects a lasting condition:

    begin(state, "meter_stale", "pdu-a1", "no value for 12 s", now)
    end(state, "meter_stale", "pdu-a1", now)

`kind` is a row of `wattline_protocol.wire.problem_kinds`: severity, titles, kind of the end event.
`subject` names the affected object, without figures: a node, "n01 GPU 3", a domain, "job 17". Pass
`node=` or `job=` if it concerns one. Both calls are level-triggered and may run at every check:
`begin` of an open problem only refreshes its evidence, `end` of one that is not open does nothing.
A single occurrence (a job ended, a user acted) is `journal.note`.

Flapping is limited. A problem ends once it has been absent for `settle_s` of its kind; one that
begins again within `REOPEN_S` of its end is the same problem, and from then on each end waits
twice as long, up to `MOST_HELD_S`. Open problems survive a restart: the check that began one calls
`end` by level once the condition is over.
"""

import msgspec

from wattline_protocol.ids import JobId, NodeId, Now
from wattline_protocol.text.quantities import format_clipped
from wattline_protocol.wire.problems import MAX_EVIDENCE, Acknowledgement, Severity
from wattline_scheduler.core.model.problem_book import MAX_OPEN, Problem, kind_of
from wattline_scheduler.core.model.state import State
from wattline_scheduler.records import ProblemRecord


def begin(
    state: State,
    kind: str,
    subject: str,
    text: str,
    now: Now,
    *,
    severity: Severity | None = None,
    by: NodeId | None = None,
    node: NodeId | None = None,
    job: JobId | None = None,
) -> bool:
    """Begins or refreshes a problem; `text` is its evidence. Returns whether it is open now.

    `severity`: overrides the kind's. `by`: the node that reports it, if one does. False: too many
    problems are open, or the node has caused too many events in this minute; it begins at the next
    check within the limits.
    """
    problems, key = state.problems, (kind, subject)
    known = problems.open.get(key)
    if known is not None:
        problems.see(known, text, now)
        return True
    level = severity or kind_of(kind).severity
    if len(problems.open) >= MAX_OPEN or not (level == "alarm" or state.journal.may_write()):
        return False
    record = problems.reopened(key) or ProblemRecord(
        state.journal.next_event, *key, "warning", now.unix_s, None, "", node=node, job=job
    )
    record = msgspec.structs.replace(record, evidence=text[:MAX_EVIDENCE], severity=level)
    problems.add(record, now)
    state.journal.note(kind, text, now, by=by, node=node, job=job, level=level)
    state.journal.save(record)
    return True


def end(state: State, kind: str, subject: str, now: Now, text: str = "") -> None:
    """Ends a problem, unless it recurs soon. `text`: that of the event of its end."""
    problem = state.problems.open.get((kind, subject))
    if problem is None:
        return
    problem.last_words = text
    if state.problems.miss(problem, now) and state.journal.may_write():
        _close(state, problem, now)


def end_of_node(state: State, node: NodeId, now: Now, text: str) -> None:
    """Ends the problems of a node at once: it is off, or replaced. `text`: the reason."""
    for problem in list(state.problems.of_node.get(node, {}).values()):
        problem.last_words = f"{problem.record.subject}: {text}"
        _close(state, problem, now)


def acknowledge(state: State, problem: Problem, by: Acknowledgement | None) -> None:
    """Notes that an operator has seen it; None: no longer. It holds for its recurrences, too."""
    problem.record = msgspec.structs.replace(problem.record, acknowledged=by)
    state.journal.save(problem.record)


def tick_problems(state: State, now: Now) -> None:
    """Ends problems that were absent, or not seen, for long enough, at every tick."""
    for problem in state.problems.due(now):
        _close(state, problem, now)


def restore_problems(state: State, saved: tuple[ProblemRecord, ...], now: Now) -> None:
    """Restores saved problems. Ends those whose subject is no longer in the site file."""
    for record in saved:
        if record.until_unix_s is not None:
            state.problems.keep_ended(record)
            continue
        problem = state.problems.add(record, now)
        if not _is_of_site(state, record):
            problem.last_words = f"{record.subject} is no longer in the site file"
            _close(state, problem, now)


def _close(state: State, problem: Problem, now: Now) -> None:
    record = state.problems.remove(problem, now)
    text = problem.last_words or _last_words(record)
    state.journal.note(problem.kind.end_event, text, now, node=record.node, job=record.job)
    state.journal.save(record)


def _last_words(record: ProblemRecord) -> str:
    """Default text for the event of its end."""
    lasted_s = (record.until_unix_s or record.since_unix_s) - record.since_unix_s
    lasted = format_clipped(lasted_s)
    times = f", began {record.occurrences} times" if record.occurrences > 1 else ""
    return f"{record.subject}: {kind_of(record.kind).title}: ended after {lasted}{times}"


def _is_of_site(state: State, record: ProblemRecord) -> bool:
    if record.node is not None:
        return record.node in state.nodes
    is_of_domain = kind_of(record.kind).scope == "domain"
    return not is_of_domain or record.subject.split(" ", 1)[0] in state.domains.by_id


def is_open(state: State, kind: str, subject: str) -> bool:
    """Whether a problem has begun and not ended; one briefly absent is still open."""
    return (kind, subject) in state.problems.open
