"""Outputs of jobs, as agents of a harness report them."""

import msgspec

from support.core.harness import Harness
from support.core.node_data import CACHE_BYTES, SIZE_BYTES, listed, sha
from support.core.sites import JobBuilder, job
from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import DataSpec
from wattline_protocol.wire.agents.data_messages import (
    DataHeld,
    DataReport,
    HoldData,
    OutputNow,
    OutputState,
    OutputToPublish,
    StoredOutput,
)
from wattline_scheduler.views.jobs_view import job_in_memory


def makes(name: str, *datasets: str, after_ok: tuple[JobId, ...] = ()) -> JobBuilder:
    """A job that makes a version of a set."""
    return with_data(DataSpec(datasets, makes=name), after_ok)


def with_data(data: DataSpec, after_ok: tuple[JobId, ...] = ()) -> JobBuilder:
    return JobBuilder(msgspec.structs.replace(job().build(), data=data, after_ok=after_ok))


def publishes(h: Harness, node: str) -> tuple[OutputToPublish, ...]:
    """The newest list of a node."""
    found = [m for m in h.sent_to(node, HoldData) if isinstance(m, HoldData)]
    return found[-1].outputs if found else ()


def reason(h: Harness, number: JobId) -> str:
    """As its owner reads it."""
    return job_in_memory(h.job(number), h.cluster.state.site.tariff).reason


def node_of(h: Harness, number: JobId) -> str:
    publisher = h.gang(number).publisher
    assert publisher is not None
    return str(publisher.node)


def output(
    h: Harness,
    number: JobId,
    content: int = 0,
    state: OutputState = "stored",
    *,
    detail: str = "",
    done: int = 0,
    as_of: str | None = None,
) -> None:
    """What the node says of the output of a job, and what follows."""
    node = node_of(h, number)
    (order,) = [one for one in publishes(h, node) if one.ref.job == number]
    about = (order.as_of if as_of is None else as_of, sha(content), 1, SIZE_BYTES, SIZE_BYTES)
    stored = StoredOutput(*about) if state == "stored" else None
    now = OutputNow(order.ref, state, done, SIZE_BYTES if done else 0, detail, stored)
    say(h, node, outputs=(now,))


def say(h: Harness, node: str, *held: DataHeld, outputs: tuple[OutputNow, ...] = ()) -> None:
    agent = h.agent(node)
    about = (held, CACHE_BYTES, 0, "", (), outputs)
    h.say(node, DataReport(agent.epoch, agent.incarnation, *about))
    h.settle()


def made(h: Harness, job: JobBuilder, content: int) -> JobId:
    """A job that has made a version with this content."""
    number = h.submit(job)
    for node in map(str, h.agents):
        ready = [(one.manifest_sha256, one.asked, one.listing) for one in listed(h, node)]
        held = (DataHeld(name, "ready", asked=asked, listing=at) for name, asked, at in ready)
        say(h, node, *held)
    h.run(2)
    h.end_tasks()
    output(h, number, content)
    assert h.state_of(number) == "COMPLETED", h.job(number).record.reason
    return number
