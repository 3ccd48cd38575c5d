"""Registers outputs of jobs as versions of data sets, and ends the jobs that made them.

Level-triggered: what a node reports of an output is looked at until its gang publishes no more. The
version and the end of the job are one transaction, so that a job behind it finds the version.
"""

from wattline_protocol.data.references import version_text
from wattline_protocol.data.requests import AddData, Kind, Origin
from wattline_protocol.ids import Now
from wattline_protocol.wire.agents.data_messages import OutputNow, StoredOutput
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.admission.disk_reserve import deny_new_work
from wattline_scheduler.core.lifecycle.data.publishing import progress_text, version_to_equal
from wattline_scheduler.core.lifecycle.ending import finish, run_again
from wattline_scheduler.core.model.data.job_data import reads_of, recipe_of
from wattline_scheduler.core.model.jobs.job import Attempt, Gang, Publishing
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.data_sets.add_version import add
from wattline_scheduler.core.requests.selection import Asker

MAX_COMMIT_CHARS, MAX_CHANGED_CHARS = 100, 200

MAX_REGISTERED = 64
"""Outputs that one run registers, or is denied to: of a full set thousands may be kept, each of
which is tried again."""


def tick_outputs(state: State, now: Now) -> None:
    """Of all gangs that publish; stored outputs as many as one run registers."""
    left = MAX_REGISTERED
    for gang in list(state.work.publishing.values()):
        attempt = gang.publisher
        if attempt is None:
            _lose(state, gang, "the attempt that has its output is not on record", now)
            continue
        node = state.nodes.get(attempt.node)
        if node is None:
            _lose(state, gang, f"{attempt.node}, which has its output, has left the site", now)
            continue
        output = node.data.outputs.get(attempt.record.ref)
        if why := _why_lost(gang, node, output):
            _lose(state, gang, why, now)
            continue
        is_stored = output is not None and output.state == "stored"
        if left or not is_stored:
            left -= is_stored
            _take(state, gang, attempt, output, now)


def _why_lost(gang: Gang, node: NodeNow, output: OutputNow | None) -> str:
    """Why the output of a gang cannot be published any more; empty = it can."""
    phase = gang.phase
    if node.record.is_off:
        return f"{node.id} is off, before its output was published"
    if isinstance(phase, Publishing) and phase.boot_id != node.record.boot_id:
        return f"{node.id} was restarted before its output was published"
    if output is not None and output.state == "gone":
        return f"{node.id} no longer has its output"
    return ""


def _lose(state: State, gang: Gang, why: str, now: Now) -> None:
    gang.reason = why
    run_again(state, gang, now)


def _take(state: State, gang: Gang, attempt: Attempt, output: OutputNow | None, now: Now) -> None:
    gang.reason = progress_text(gang, state.nodes[attempt.node], output)
    data = gang.job.spec.data
    if data.rebuilds and isinstance(why := version_to_equal(state, gang), str):
        _fail(state, gang, why, now)
    elif output is None:
        return
    elif output.state == "failed":
        what = f"not equal to {data.rebuilds}" if data.rebuilds else f"no version of {data.makes}"
        _fail(state, gang, f"its output is {what}: {output.detail}", now)
    elif output.state == "equal" and data.rebuilds:
        state.journal.change(gang.job, made=data.rebuilds)
        finish(state, gang, "COMPLETED", now)
    elif output.state == "stored" and output.stored is not None and data.makes:
        _register(state, gang, attempt, output.stored, now)


def _fail(state: State, gang: Gang, why: str, now: Now) -> None:
    gang.reason = why
    finish(state, gang, "FAILED", now)


def _register(state: State, gang: Gang, attempt: Attempt, stored: StoredOutput, now: Now) -> None:
    job, data = gang.job, gang.job.spec.data
    known = state.data.sets.get(data.makes)
    store = state.site.data.store if known is None else known.store
    if stored.as_of != state.data.mark(store, state.epoch, now.unix_s):
        return  # it is looked at again: the node has, or gets, another list
    if (full := deny_new_work(state)) is not None:
        _keep(state, gang, full)
        return
    kind: Kind = "model" if data.makes_model else "dataset"
    request = AddData(
        name=data.makes,
        kind=kind,
        store=store,
        as_of=stored.as_of,
        sha256=stored.sha256,
        files=stored.files,
        bytes=stored.bytes,
        stored_bytes=stored.stored_bytes,
        made_from=(*_inputs(state, gang), _run(gang, attempt), *_code(stored)),
        verdict=stored.verdict,
    )
    asker = Asker(job.record.owner, "submitter")
    added = add(state, asker, request, now, recipe_of(job.spec))
    if isinstance(added, Denied):
        _keep(state, gang, added)
        return
    state.journal.change(job, made=version_text(added.name, added.number))
    finish(state, gang, "COMPLETED", now)


def _keep(state: State, gang: Gang, denied: Denied) -> None:
    """Its node keeps the output, which is registered once that is no longer denied: it is tried
    again after the others."""
    publishing = state.work.publishing
    publishing[gang.key] = publishing.pop(gang.key)
    made = gang.job.spec.data.makes
    gang.reason = f"the output is kept; {made} cannot be registered yet: {denied.reason}"


def _inputs(state: State, gang: Gang) -> tuple[Origin, ...]:
    reads = reads_of(state.data, gang.job.spec).versions
    return tuple(Origin("data", name, one.sha256) for name, one in reads.items())


def _run(gang: Gang, attempt: Attempt) -> Origin:
    return Origin("run", f"{gang.job.id}#{attempt.record.attempt}", gang.job.spec.name)


def _code(stored: StoredOutput) -> tuple[Origin, ...]:
    """What its child says of the code, which is not trusted: a commit, and how it was changed."""
    code = stored.code
    if code is None:
        return ()
    return (Origin("commit", code.name[:MAX_COMMIT_CHARS], code.detail[:MAX_CHANGED_CHARS]),)
