"""A store that has lost its newest commits, younger than its marker: those who know more say so."""

import msgspec

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import Epoch, JobId
from wattline_protocol.job.selection import only
from wattline_protocol.wire.client_messages import Requeue
from wattline_scheduler.core.agents.store_behind import PROBLEM
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.records import Saved


def two_nodes() -> Harness:
    return joined(site().rack("a", 2).build())


def start_on(h: Harness, older: Saved) -> None:
    """The next run on a store that lost what came after `older`, but not its epoch."""
    h.cluster = Cluster(
        h.cluster.state.site,
        msgspec.structs.replace(older, epoch=Epoch(h.cluster.state.epoch + 1)),
        h.now,
    )


def reported(h: Harness) -> list[str]:
    """What alarms say of it, node by node."""
    problems = h.cluster.state.problems.open.values()
    return [p.record.evidence for p in problems if p.record.kind == PROBLEM]


def test_a_job_that_is_not_on_record_is_an_alarm_and_its_number_does_not_come_again() -> None:
    h = two_nodes()
    older = h.disk.load()
    lost = h.submit(job().gpus(1))
    h.run(2)
    start_on(h, older)
    h.run(3)
    (text,) = reported(h)
    assert f"has {lost}.0#1, the newest job on record is {lost - 1}" in text
    assert "submit lost ones again" in text
    assert h.submit(job()) == JobId(lost + 1)


def test_a_later_try_of_a_job_on_record_is_an_alarm() -> None:
    h = two_nodes()
    number = h.submit(job().gpus(1))
    h.run(2)
    older = h.disk.load()
    h.do(Requeue(only(number), "again"))
    h.run(5)
    assert h.gang(number).attempt == 2
    start_on(h, older)
    h.run(3)
    assert [f"has {number}.0#2" in text for text in reported(h)] == [True]


def test_an_incarnation_that_is_not_on_record_is_an_alarm() -> None:
    h = two_nodes()
    older = h.disk.load()
    name = next(iter(h.agents))
    h.join(name)
    h.run(2)
    assert reported(h) == []
    start_on(h, older)
    h.run(3)
    (text,) = reported(h)
    assert "has incarnation 2, the newest on record is 1" in text


def test_a_restart_that_lost_nothing_says_nothing() -> None:
    h = two_nodes()
    h.submit(job().gpus(1))
    h.run(2)
    h.restart_scheduler()
    h.run(3)
    assert reported(h) == []
