"""Tasks run as their users' accounts: who may submit, what is ordered, where, and who waits."""

import msgspec
import pytest

from support.core.harness import Harness
from support.core.parts import explain_job
from support.core.sites import job, site
from wattline_protocol.ids import JobId, NodeId, UserName
from wattline_protocol.site.model import RunAs
from wattline_protocol.views.site_views import ExplainView
from wattline_protocol.wire.agent_messages import StartTask
from wattline_protocol.wire.client_messages import Denied, Submit

ADA = {UserName("ada"): "ada.l"}


def started(
    run_as: RunAs | None, *, can_run_as: bool = True, own: str = "", nodes: int = 1
) -> Harness:
    """`own`: the keepers' account; empty: their agents do not say."""
    h = Harness(msgspec.structs.replace(site().rack("a", nodes).build(), run_as=run_as))
    for agent in h.agents.values():
        agent.can_run_as, agent.keeper_account = can_run_as, own
    h.join()
    h.run(2)
    return h


def accounts(h: Harness) -> list[str]:
    return [said.order.run_as for _, said in h.sent if isinstance(said, StartTask)]


def explained(h: Harness, number: JobId) -> ExplainView:
    return explain_job(h.cluster.state, h.job(number), h.now)


def test_an_order_names_the_account_of_who_owns_the_job() -> None:
    h = started(RunAs(ADA, "same"))
    for user in ("ada", "bob"):
        h.submit(job().gpus(1), user=user)
    h.run(3)
    assert accounts(h) == ["ada.l", "bob"]


def test_without_the_table_an_order_names_nobody_and_a_keeper_that_is_not_root_will_do() -> None:
    h = started(None, can_run_as=False, own="wattline")
    h.submit(job().gpus(1), user="ada")
    h.run(3)
    assert accounts(h) == [""]


@pytest.mark.parametrize("own", ["root", ""])
def test_without_the_table_nothing_runs_as_root_nor_as_who_knows_whom(own: str) -> None:
    h = started(None, own=own)
    number = h.submit(job().gpus(1), user="ada")
    h.run(3)
    assert (h.state_of(number), accounts(h)) == ("PENDING", [])
    (refusal,) = explained(h, number).refusals
    assert (
        "its keeper is root, and the site file does not name the account of tasks"
        in refusal.missing
    )


def test_others_run_as_the_keeper_root_too_where_the_site_file_says_it() -> None:
    h = started(RunAs(ADA, "keeper"), own="root")
    for user in ("ada", "bob"):
        h.submit(job().gpus(1), user=user)
    h.run(3)
    assert accounts(h) == ["ada.l", ""]


def test_a_keeper_that_is_not_root_starts_what_runs_as_its_own_account() -> None:
    h = started(RunAs(ADA, "same"), can_run_as=False, own="ada.l")
    h.submit(job().gpus(1), user="ada")
    h.run(3)
    assert accounts(h) == ["ada.l"]
    answer = h.ask(Submit(job().build(), "t"), user="bob", role="submitter")
    assert answer == Denied(
        "not_allowed",
        "tasks of bob run as bob, but the keepers are not root and start tasks only as ada.l; run "
        "them as root, or map bob to ada.l in [run_as] users",
    )


def test_what_was_placed_where_only_another_account_runs_is_not_ordered_and_says_so() -> None:
    h = started(RunAs(ADA, "same"), can_run_as=False)  # nobody has said: it is accepted
    number = h.submit(job().gpus(1), user="bob")
    for agent in h.agents.values():
        agent.keeper_account = "ada.l"
        agent.say_hello()
    h.run(60)
    assert (h.state_of(number), accounts(h)) == ("PENDING", [])
    only = "a1 starts tasks only as ada.l, its keeper's account, not as bob ([run_as])"
    assert only in h.gang(number).reason
    for agent in h.agents.values():
        agent.can_run_as = True
        agent.say_hello()
    h.run(60)
    assert accounts(h) == ["bob"]


def test_who_has_no_account_may_not_submit() -> None:
    h = started(RunAs(ADA))
    answer = h.ask(Submit(job().build(), "t"), user="bob", role="submitter")
    assert answer == Denied(
        "not_allowed",
        "the site file maps bob to no host account ([run_as]); ask an operator to add one",
    )


def test_nobody_is_root_for_being_called_so() -> None:
    h = started(RunAs(others="same"))
    answer = h.ask(Submit(job().build(), "t"), user="root", role="submitter")
    assert isinstance(answer, Denied)


def test_a_node_whose_keeper_cannot_gets_nothing_and_says_why() -> None:
    h = started(RunAs(ADA), can_run_as=False)
    number = h.submit(job().gpus(1), user="ada")
    h.run(3)
    assert h.state_of(number) == "PENDING"
    (refusal,) = explained(h, number).refusals
    assert "its keeper cannot start tasks as other accounts" in str(refusal)


def test_a_node_that_no_longer_can_is_not_ordered_what_was_placed_on_it() -> None:
    h = started(RunAs(ADA))
    h.agents[NodeId("a1")].is_slow_to_ack = True
    number = h.submit(job().gpus(1), user="ada")
    assert h.state_of(number) == "STARTING"
    h.node("a1").can_run_as = False  # as after a Hello of another agent
    h.agents[NodeId("a1")].is_slow_to_ack = False
    h.agents[NodeId("a1")].ack_now()
    h.run(3)
    assert h.state_of(number) == "PENDING"
    assert accounts(h) == []


def test_what_waits_and_loses_its_account_waits_and_starts_once_there_is_one_again() -> None:
    h = started(RunAs(ADA), can_run_as=False)  # so that it waits
    number = h.submit(job().gpus(1), user="ada")
    h.agents[NodeId("a1")].can_run_as = True
    for run_as, state in ((RunAs(), "PENDING"), (RunAs(ADA), "RUNNING")):
        h.site = msgspec.structs.replace(h.site, run_as=run_as)
        h.restart_scheduler()
        h.join()
        h.run(3)
        assert h.state_of(number) == state
        if state == "PENDING":
            assert "maps ada to no host account" in explained(h, number).reason
    assert accounts(h) == ["ada.l"]


@pytest.mark.parametrize("run_as", [None, RunAs(ADA, "same")], ids=["one account", "accounts"])
def test_a_site_without_a_node_starts_and_says_what_it_lacks(run_as: RunAs | None) -> None:
    """As `wattline init` leaves it. Its scheduler ended with an error of its own."""
    h = started(run_as, nodes=0)
    assert h.refuse(job().gpus(1)) == "requests 1 node; the site has 0"
