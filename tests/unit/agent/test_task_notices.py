"""Notices of interruptions: written, withdrawn, reported (`NotifyTask`)."""

import pytest

from support.node.rig import Rig, messages_of, of, ref
from wattline_agent.core.effects import Effect, Notify
from wattline_agent.core.tasks.attempts import reports
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.agent_messages import CommandDone
from wattline_protocol.wire.task_order import Notice


def outcomes(effects: list[Effect]) -> list[str]:
    """How commands were answered."""
    return [done.outcome for done in messages_of(effects, CommandDone)]


def notice_at(at_unix_s: float) -> Notice:
    return Notice("limit", UnixTime(at_unix_s), "its time limit", 7.0)


def test_a_notice_is_written_in_the_nodes_own_time_and_reported_as_it_was_sent(rig: Rig) -> None:
    rig.run(ref(), 0)
    sent = notice_at(5.0)  # by a clock that differs from the node's
    done = rig.notify(ref(), sent, in_s=60.0)
    assert outcomes(done) == ["done"]
    ((_, written),) = [(n.ref, n.notice) for n in of(done, Notify)]
    assert written is not None
    assert written.at_unix_s == pytest.approx(rig.now.unix_s + 60.0)
    assert (written.what, written.grace_s) == ("limit", 7.0)
    rig.pass_s(2)
    assert [report.notice for report in reports(rig.node.state)] == [sent]


def test_a_notice_is_withdrawn_and_one_for_what_does_not_run_here_does_nothing(rig: Rig) -> None:
    rig.run(ref(), 0)
    rig.notify(ref(), notice_at(5.0), in_s=60.0)
    assert of(rig.notify(ref(), None), Notify) == [Notify(ref(), None)]
    assert [report.notice for report in reports(rig.node.state)] == [None]
    elsewhere = rig.notify(ref(7), notice_at(5.0))
    assert outcomes(elsewhere) == ["done"]
    assert not of(elsewhere, Notify)


def test_an_agent_that_restarted_knows_the_notice_on_disk(rig: Rig) -> None:
    rig.run(ref(), 0)
    rig.notify(ref(), notice_at(5.0), in_s=60.0)
    rig.crash()
    rig.ready()
    (report,) = reports(rig.node.state)
    assert report.notice is not None
    assert report.notice.what == "limit"


def test_a_notice_that_was_not_written_is_not_reported(rig: Rig) -> None:
    rig.run(ref(), 0)
    rig.keeps_notices = False
    rig.notify(ref(), notice_at(5.0), in_s=60.0)
    rig.pass_s(2)
    assert [report.notice for report in reports(rig.node.state)] == [None], "it is sent again"


def test_a_stop_and_a_time_limit_have_notices_of_their_own(rig: Rig) -> None:
    rig.run(ref(), 0, runtime_limit_s=10.0, grace_s=7.0)
    (over,) = of(rig.pass_s(12), Notify)
    assert over.notice is not None
    assert (over.notice.what, over.notice.grace_s) == ("limit", 7.0)


def test_a_pause_taken_back_before_the_freeze_withdraws_its_notice(rig: Rig) -> None:
    rig.run(ref(), 0)
    rig.pass_s(5)
    (begun,) = of(rig.pause(ref()), Notify)
    assert begun.notice is not None
    assert begun.notice.what == "pause"
    assert Notify(ref(), None) in rig.resume(ref())
