"""Problems: conditions that begin once and end once, each with one event.

The API for everything that notices something wrong which lasts:

    begin(state, "meter_stale", "pdu-a1", "no value for 12 s", now)
    end(state, "meter_stale", "pdu-a1", now)

`kind` is a row of `wattline_protocol.wire.problem_kinds`: severity, titles, the kind of the event
at the end. `subject` is what it is about, without figures: a node, "n01 GPU 3", a domain,
"job 17". Pass `node=` or `job=` where it is about one. Both may be called at every look, by level:
`begin` of an open problem only refreshes its evidence, `end` of one that is not open does nothing.
A moment (a job ended, somebody acted) is `journal.note`.

What flaps is bounded. A problem ends once it has been away for `settle_s` of its kind; one that
begins again within `REOPEN_S` of its end is the same problem, and from then on each end waits
twice as long, up to `MOST_HELD_S`. Open problems survive a restart: whoever began one calls `end`
by level once it sees that it is over.
"""

import msgspec

from wattline_protocol.ids import JobId, NodeId, Now
from wattline_protocol.text.quantities import MAX_DURATION_S, format_duration
from wattline_protocol.wire.problems import MAX_EVIDENCE, Severity
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
    """A problem begins, or is seen again; `text` is its evidence. Whether it is open now.

    `severity`: other than the kind's. `by`: the node that reports it, if one does. False: too many
    problems are open, or the node has caused too many events in this minute; it begins at the next
    look that finds room.
    """
    problems, key = state.problems, (kind, subject)
    known = problems.open.get(key)
    if known is not None:
        problems.see(known, text, now)
        return True
    level = severity or kind_of(kind).severity
    if len(problems.open) >= MAX_OPEN or not (level == "alarm" or state.journal.has_room()):
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
    """A problem is over, unless it comes back soon. `text`: what the event of its end says."""
    problem = state.problems.open.get((kind, subject))
    if problem is None:
        return
    problem.last_words = text
    if state.problems.miss(problem, now) and state.journal.has_room():
        _close(state, problem, now)


def end_of_node(state: State, node: NodeId, now: Now, text: str) -> None:
    """Its problems are over at once: it is off, or what it was is gone. `text`: why."""
    for problem in list(state.problems.of_node.get(node, {}).values()):
        problem.last_words = f"{problem.record.subject}: {text}"
        _close(state, problem, now)


def tick_problems(state: State, now: Now) -> None:
    """At every tick: what has been away, or was not seen, for long enough ends."""
    for problem in state.problems.due(now):
        _close(state, problem, now)


def restore_problems(state: State, saved: tuple[ProblemRecord, ...], now: Now) -> None:
    """Those on record. What is no longer in the site file has no problems."""
    for record in saved:
        if record.until_unix_s is not None:
            state.problems.ended.append(record)
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
    """What the event of its end says where its module says nothing."""
    lasted_s = (record.until_unix_s or record.since_unix_s) - record.since_unix_s
    lasted = format_duration(round(min(max(0.0, lasted_s), MAX_DURATION_S)))
    times = f", began {record.occurrences} times" if record.occurrences > 1 else ""
    return f"{record.subject}: over after {lasted}{times}: {kind_of(record.kind).title}"


def _is_of_site(state: State, record: ProblemRecord) -> bool:
    if record.node is not None:
        return record.node in state.nodes
    is_of_domain = kind_of(record.kind).scope == "domain"
    return not is_of_domain or record.subject.split(" ", 1)[0] in state.domains.by_id


def is_open(state: State, kind: str, subject: str) -> bool:
    """Whether it has begun and not ended; one that is away for a moment is still open."""
    return (kind, subject) in state.problems.open
