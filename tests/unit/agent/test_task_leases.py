"""Task leases of running attempts: granted by the keeper, reported as it lists them (I7)."""

import pytest

from support.node.rig import Rig, messages_of, of, ref
from wattline_agent.core.effects import GrantTaskLease, RenewTaskLeases
from wattline_agent.core.events import Connected
from wattline_agent.core.tasks.attempts import reports
from wattline_protocol.wire.agent_messages import CommandDone, Hello


def test_a_lease_counts_from_the_last_contact_and_is_reported_once_the_keeper_lists_it(
    rig: Rig,
) -> None:
    rig.run(ref(), 0)
    rig.pass_s(3)
    heard_s = rig.node.state.session.heard_s
    done = rig.lease_task(ref())
    assert [one.outcome for one in messages_of(done, CommandDone)] == ["done"]
    assert of(done, GrantTaskLease) == [GrantTaskLease(ref(), heard_s + 300.0)]
    assert [report.has_task_lease for report in reports(rig.node.state)] == [False]
    rig.pass_s(2)
    assert [report.has_task_lease for report in reports(rig.node.state)] == [True]
    assert of(rig.pass_s(3), RenewTaskLeases), "it is renewed like those of a start"


def test_it_is_granted_once_whatever_is_repeated_and_never_taken_back(rig: Rig) -> None:
    rig.run(ref(), 0)
    rig.lease_task(ref())
    rig.pass_s(2)
    assert not of(rig.lease_task(ref()), GrantTaskLease)
    rig.crash()
    rig.ready()
    assert [report.has_task_lease for report in reports(rig.node.state)] == [True]


def test_none_is_granted_that_has_run_out_or_for_what_does_not_run_here(rig: Rig) -> None:
    rig.run(ref(), 0)
    rig.now_s += 400.0
    assert not of(rig.lease_task(ref()), GrantTaskLease), "it would end the task at once"
    assert not of(rig.lease_task(ref(7)), GrantTaskLease)


@pytest.mark.parametrize("can_lease", [False, True])
def test_the_hello_says_whether_the_keeper_grants_leases(*, can_lease: bool) -> None:
    rig = Rig(takes_recovery=can_lease)
    rig.boot()
    rig.handle(Connected())
    (hello,) = messages_of(rig.effects, Hello)
    assert hello.takes_recovery is can_lease
