"""Whether a job can ever run on this site. Impossible jobs are denied with what would fit.

A node that never sent a Hello may have any hardware; with enough of these no job is denied.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from wattline_protocol.ids import NodeId, Now
from wattline_protocol.job import values
from wattline_protocol.job.file import job_problems
from wattline_protocol.job.keys import (
    MAX_CPUS_PER_GPU,
    MAX_GPUS_PER_NODE,
    MAX_NODES,
    MAX_PROCS_PER_NODE,
    MAX_RETRIES,
    MAX_WATTS_PER_GPU,
)
from wattline_protocol.job.spec import WHOLE_GPU, ArraySpec, JobSpec
from wattline_protocol.job.values import MAX_ARRAY_INDEX, MAX_ARRAY_INDICES, MAX_PARENTS
from wattline_protocol.site.labels import Labels, labels_text, of_site_file
from wattline_protocol.text.quantities import (
    MAX_AMOUNT,
    MAX_DURATION_S,
    MAX_SIZE_BYTES,
    format_duration,
)
from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import counted, gib, listed
from wattline_scheduler.core.admission.planner_view import offer_of
from wattline_scheduler.core.model.jobs.job import Attempt
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.column_writer import RowHeadroom, snapshot_of
from wattline_scheduler.plan.model.device_classes import devices, profile_of
from wattline_scheduler.plan.model.shape import Shape, shape_of
from wattline_scheduler.plan.model.snapshot import NodeOffer, Snapshot
from wattline_scheduler.plan.model.task_request import is_of_type, suits
from wattline_scheduler.plan.search.feasible import fits_when_empty
from wattline_scheduler.plan.search.gang import place_gang
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.plan.wait_reasons import wait_reason
from wattline_scheduler.power.topology.rows import Row, counted_mw

MAX_GANGS = MAX_ARRAY_INDICES
"""Maximum number of array indices or replicas of one job."""

MAX_PROBLEMS_TOLD = 5
MAX_CHARS_TOLD = 400

MAX_COMMAND_BYTES = 128 * 1024
"""Command and environment together: the maximum length of one argument in Linux."""


def malformed(spec: JobSpec) -> str:
    """Problems of the specification itself; empty = none.

    Our clients check the same before they submit; others may not.
    """
    return _beyond_any_site(spec) or "; ".join(_bounded(job_problems(spec)))


def _bounded(problems: Sequence[str]) -> list[str]:
    """Limits problems to the size of an answer, since some quote their input."""
    return [visible_line(problem[:MAX_CHARS_TOLD]) for problem in problems[:MAX_PROBLEMS_TOLD]]


def _beyond_any_site(spec: JobSpec) -> str:
    """Cheap checks, before those of job files, whose time grows with each word."""
    r = spec.resources
    if not spec.name or not spec.command:
        return "a job needs a name and a command"
    if not 0 <= spec.priority <= 100:
        return f"priority {spec.priority} is not between 0 and 100"
    if r.least_nodes < 1 or r.gpus_per_node < 0 or r.cpus_per_gpu < 0 or r.memory_bytes < 0:
        return "a job needs at least 1 node, and no resource may be negative"
    if r.least_nodes > r.most_nodes:
        return f"resources.nodes: {r.least_nodes} is above {r.most_nodes}"
    if r.mig and (r.gpus_per_node != 1 or r.gpu_share_permille < WHOLE_GPU):
        return f"a task gets one MIG device and no share of a GPU; it requests {r.mig} and more"
    if r.mig and spec.limits.idle_gpu is not None:
        return "the driver measures no utilisation of MIG devices: limits.idle_gpu cannot apply"
    if r.gpu_share_permille < WHOLE_GPU and r.gpus_per_node != 1:
        return f"a share is of one GPU, and gpus_per_node is {r.gpus_per_node}"
    if not 1 <= spec.gang_count <= spec.most_gangs <= MAX_GANGS:
        return f"{spec.most_gangs} array indices or replicas; 1 to {MAX_GANGS} are allowed"
    wrong = "" if spec.array is None else _bad_array(spec.array)
    if wrong:
        return wrong
    if spec.kind != "service" and spec.service is not None:
        return f"replicas are for services, this job is of kind {spec.kind}"
    limits = (spec.limits.runtime_s, spec.recovery.grace_s, spec.recovery.retries)
    uses = (spec.limits.energy_wh, spec.limits.cost_usd)
    idle = spec.limits.idle_gpu
    if min(uses) < 0 or (idle is not None and (idle.for_s <= 0 or not 0 < idle.below <= 1)):
        return "limits of energy, cost and idle GPUs must be above 0, utilisation at most 1"
    if min(limits) < 0 or spec.power.watts_per_gpu < 0:
        return "times, retries and watts may not be negative"
    if not 0 <= spec.power.min_performance <= 1:
        return f"min_performance {spec.power.min_performance} is not between 0 and 1"
    wrong = _too_much(spec) or _bad_times(spec)
    if wrong:
        return wrong
    if len(spec.parents) > MAX_PARENTS:
        return f"waits for {len(spec.parents)} jobs; {MAX_PARENTS} are allowed"
    size = sum(map(len, spec.command)) + sum(len(k) + len(v) for k, v in spec.env.items())
    if size > MAX_COMMAND_BYTES:
        return f"command and environment have {size} bytes, at most {MAX_COMMAND_BYTES} allowed"
    return ""


def _bad_array(array: ArraySpec) -> str:
    if not 0 <= array.at_a_time <= MAX_ARRAY_INDICES:
        return f"at_a_time {array.at_a_time} is not from 0, no limit, to {MAX_ARRAY_INDICES}"
    beyond = next((index for index in array.indices if not 0 <= index <= MAX_ARRAY_INDEX), None)
    if beyond is not None:
        return f"array index {beyond} is not from 0 to {MAX_ARRAY_INDEX}"
    backward = next((pair for pair in pairwise(array.indices) if pair[1] <= pair[0]), None)
    if backward is not None:
        return (
            f"array index {backward[1]} follows {backward[0]}; indices ascend, without duplicates"
        )
    return ""


def _too_much(spec: JobSpec) -> str:
    """First number above its job-file maximum, or NaN; the planner's arrays hold no larger."""
    r, limits, recovery = spec.resources, spec.limits, spec.recovery
    every_s = recovery.checkpoint_every_s if recovery.checkpoint_every_s != "auto" else 0.0
    asked: tuple[tuple[str, float, float], ...] = (
        ("resources.nodes", r.most_nodes, MAX_NODES),
        ("resources.gpus_per_node", r.gpus_per_node, MAX_GPUS_PER_NODE),
        ("resources.cpus_per_gpu", r.cpus_per_gpu, MAX_CPUS_PER_GPU),
        ("resources.memory", r.memory_bytes, MAX_SIZE_BYTES),
        ("resources.gpu_memory_min", r.gpu_memory_min_bytes, MAX_SIZE_BYTES),
        ("power.watts_per_gpu", spec.power.watts_per_gpu, MAX_WATTS_PER_GPU),
        ("limits.runtime", limits.runtime_s, MAX_DURATION_S),
        ("limits.energy", limits.energy_wh, MAX_AMOUNT),
        ("limits.cost", limits.cost_usd, MAX_AMOUNT),
        ("recovery.retries", recovery.retries, MAX_RETRIES),
        ("recovery.grace", recovery.grace_s, MAX_DURATION_S),
        ("recovery.checkpoint_every", every_s, MAX_DURATION_S),
        ("launch.procs_per_node", spec.launch.procs_per_node, MAX_PROCS_PER_NODE),
    )
    above = next((each for each in asked if not each[1] <= each[2]), None)  # NaN is not either
    return "" if above is None else f"{above[0]} is {above[1]:g}, at most {above[2]:g} is allowed"


def slow_to_stop(spec: JobSpec, max_grace_s: float) -> str:
    """Reason if its grace period, for which others wait, exceeds the site's maximum."""
    if spec.recovery.grace_s <= max_grace_s:
        return ""
    grace, most = format_duration(spec.recovery.grace_s), format_duration(max_grace_s)
    return f"recovery.grace is {grace}, the site's maximum is {most} (max_grace)"


def _bad_times(spec: JobSpec) -> str:
    windows = spec.windows
    try:
        if windows.start_only:
            values.windows(list(windows.start_only))
        if windows.deadline:
            values.moment(windows.deadline)
    except ValueError as error:
        return str(error)
    if windows.deadline and spec.kind == "service":
        return "a service runs until it is cancelled: it cannot have a deadline"
    return ""


MAX_NAMED = 12
"""Maximum number of labels listed in a denial."""

MAX_VERDICTS = 1_024
"""Maximum number of cached shapes; jobs have few different ones."""


def impossible(state: State, spec: JobSpec, now: Now) -> str:
    """Reason why the job can never run on this site, with what could; empty = it can, or may."""
    shape = shape_of(spec)
    verdict = state.verdicts.get(shape)
    if verdict is None:
        if len(state.verdicts) >= MAX_VERDICTS:
            state.verdicts.clear()
        verdict = state.verdicts[shape] = _judge(state, shape, now)
    return verdict


def _judge(state: State, shape: Shape, now: Now) -> str:
    if shape.nodes > len(state.nodes):
        return f"requests {counted(shape.nodes, 'node')}; the site has {len(state.nodes)}"
    labelled = _labelled(state, shape.labels)
    if labelled < shape.nodes:
        return _without_labels(state, shape, labelled)
    whole = whole_site(state, now)
    trial = Trial(whole)
    able = int(fits_when_empty(trial, shape).sum())
    known = [offer for offer in whole.nodes if shape.labels <= offer.labels]
    unknown = labelled - len(known)
    if able + unknown < shape.nodes:
        among = f"of nodes with {labels_text(shape.labels)}: " if shape.labels else ""
        return among + lacking(known, shape, able, "the site")
    if unknown or place_gang(trial, shape) is not None:
        return ""
    return f"even on an empty site at full budgets: {wait_reason(trial, shape)}"


def whole_site(state: State, now: Now) -> Snapshot:
    """Hypothetical snapshot of the known nodes: idle, undrained, healthy, at full budgets."""
    if state.whole is None:
        state.whole = site_with(state, (), now)
    return state.whole


def site_with(state: State, held: Sequence[Attempt], now: Now) -> Snapshot:
    """The same with the whole GPUs, CPUs and memory of some attempts allocated."""
    known = [node for node in state.nodes.values() if node.record.incarnation > 0]
    offers = tuple(_allocated(_empty(offer_of(state, n, now), n), held) for n in known)
    base_mw = {offer.node: _least_mw(state, offer) for offer in offers}
    headrooms = tuple(_whole_headroom(state, row, base_mw) for row in state.domains.rows)
    return snapshot_of(
        now.mono_s, offers, headrooms, [state.domains.rows_of[o.node] for o in offers]
    )


def _least_mw(state: State, offer: NodeOffer) -> int:
    """Booked base load of a node. A claim above its nameplate never denies jobs of others."""
    return min(offer.booking.booked_mw, state.nodes[offer.node].site.nameplate_mw)


def _whole_headroom(state: State, row: Row, base_mw: Mapping[NodeId, int]) -> RowHeadroom:
    domain = state.domains.by_id[row.domain]
    counted = sum(counted_mw(base_mw.get(node, 0), share) for node, share in row.shares.items())
    headroom_mw = domain.budget_mw - state.domains.declared_mw(domain.id) - counted
    return RowHeadroom(domain.id, row.name, domain.kind, headroom_mw, domain.budget_mw)


def _empty(offer: NodeOffer, node: NodeNow) -> NodeOffer:
    """The offer of a node when empty, with failed and lost GPUs: they or replacements return."""
    managed = [gpu for gpu in node.gpus.values() if gpu.managed]
    gpus = tuple(device for gpu in managed for device in devices(gpu))
    base_mw = offer.booking.base_mw
    idle_mw = sum(gpu.idle_mw for gpu in managed if gpu.index in node.holders)
    return replace(
        offer,
        closed="",
        gpus=gpus,
        free=gpus,
        parts=(),
        cpus_free=offer.cpus,
        memory_free_bytes=offer.memory_bytes,
        booking=replace(offer.booking, base_mw=base_mw + idle_mw, busy_mw=0),
    )


def _allocated(offer: NodeOffer, held: Sequence[Attempt]) -> NodeOffer:
    here = [one for one in held if one.node == offer.node]
    if not here:
        return offer
    taken = {gpu for one in here if one.gpu_milli == WHOLE_GPU for gpu in one.record.gpus}
    shapes = [one.gang.job.shape for one in here]
    return replace(
        offer,
        free=tuple(gpu for gpu in offer.free if gpu.index not in taken),
        cpus_free=offer.cpus_free - sum(shape.cpus for shape in shapes),
        memory_free_bytes=offer.memory_free_bytes - sum(shape.memory_bytes for shape in shapes),
    )


def _labelled(state: State, labels: Labels) -> int:
    """Number of nodes with all of the labels, heard or not."""
    return sum(labels <= node.labels for node in state.nodes.values())


def _without_labels(state: State, shape: Shape, labelled: int) -> str:
    """Reason if too few nodes have these labels, with the nearest labels that exist."""
    wanted = labels_text(shape.labels)
    if labelled:
        return f"requests {counted(shape.nodes, 'node')} with {wanted}; the site has {labelled}"
    sets = {node.labels for node in state.nodes.values()}
    best = max(sets, key=lambda there: (len(shape.labels & there), sorted(there)))
    lacks = shape.labels - best
    if not of_site_file(lacks):
        return f"no node has {wanted}; `wattline agent --check` on a node says what it lacks"
    there = {pair for labels in sets for pair in of_site_file(labels)}
    names = {name for name, _ in lacks}
    known = {pair for pair in there if pair[0] in names} or there
    nearest = f"; nodes with {labels_text(shape.labels & best)} lack {labels_text(lacks)}"
    hint = nearest if shape.labels & best else ""
    return f"no node has {wanted}{hint}; {_few(known)}"


def _few(pairs: Collection[tuple[str, str]]) -> str:
    known = listed([labels_text([pair]) for pair in sorted(pairs)], MAX_NAMED)
    return f"the site's labels are {known}" if pairs else "the site has no labels"


def _gpus_text(gpu_milli: int) -> str:
    return "GPUs" if gpu_milli == WHOLE_GPU else f"{gpu_milli / WHOLE_GPU:g} of a GPU"


def lacking(offers: Sequence[NodeOffer], shape: Shape, able: int, where: str) -> str:
    """The first requirement that too few nodes with its labels meet, with the maximum available.

    `able`: number of nodes that meet all. `where`: the place of the nodes, as text.
    """
    gpus = [gpu for offer in offers for gpu in offer.gpus]
    subject = "they have" if shape.labels else f"{where} has"
    profiles = ", ".join(sorted({profile_of(gpu) for gpu in gpus} - {""}))
    if shape.mig and shape.mig not in profiles.split(", "):
        there = f"{subject} {profiles}" if profiles else "no GPU is in MIG mode"
        return f"no GPU has a MIG device {shape.mig}; {there}"
    if shape.gpus and profiles and not shape.mig and all(map(profile_of, gpus)):
        return f"every GPU is in MIG mode; request one of their MIG devices: {profiles}"
    if shape.gpus and not any(is_of_type(gpu, shape) for gpu in gpus):
        alike = [gpu for gpu in gpus if not shape.mig or profile_of(gpu) == shape.mig]
        present = ", ".join(sorted({gpu.name for gpu in alike})) or "no GPUs"
        what = f"MIG device {shape.mig}" if shape.mig else "GPU"
        wanted = " or ".join(shape.gpu_type) or "any"
        return f"no {what} is of type {wanted}; {subject} {present}"
    part = shape.gpu_milli
    if part < WHOLE_GPU and not any(gpu.can_share for gpu in gpus):
        return "requests a share of a GPU; the compute mode of every GPU admits one process only"
    memory = (gpu.memory_bytes * part // WHOLE_GPU for gpu in gpus if is_of_type(gpu, shape))
    largest = max(memory, default=0)
    if shape.gpu_memory_min_bytes > largest:
        wants = (
            f"requests {_gpus_text(part)} with {gib(shape.gpu_memory_min_bytes, is_wanted=True)}"
        )
        which = " of that type" if shape.gpu_type else ""
        return f"{wants}; the largest{which} has {gib(largest)}"
    most = max((sum(suits(g, shape) for g in offer.gpus) for offer in offers), default=0)
    if shape.gpus > most:
        return f"requests {counted(shape.gpus, 'GPU')} per node; no node has more than {most}"
    cpus = max((offer.cpus for offer in offers), default=0)
    if shape.cpus > cpus:
        return f"requests {shape.cpus} CPUs per node; no node has more than {cpus}"
    most_bytes = max((offer.memory_bytes for offer in offers), default=0)
    if shape.memory_bytes > most_bytes:
        wants = f"requests {gib(shape.memory_bytes, is_wanted=True)} of memory per node"
        return f"{wants}; no node has more than {gib(most_bytes)}"
    return f"requests {shape.nodes} such nodes; {where} has {able}"
