"""Tasks run as their users' accounts: who may submit, what is ordered, where, and who waits."""

import msgspec

from support.harness import Harness
from support.parts import outlook
from support.sites import job, site
from wattline_protocol.ids import JobId, NodeId, UserName
from wattline_protocol.messages import StartTask
from wattline_protocol.requests import Denied, Submit
from wattline_protocol.site import RunAs
from wattline_protocol.views import ExplainView

ADA = {UserName("ada"): "ada.l"}


def started(run_as: RunAs | None, *, can_run_as: bool = True) -> Harness:
    h = Harness(msgspec.structs.replace(site().rack("a", 1).build(), run_as=run_as))
    for agent in h.agents.values():
        agent.can_run_as = can_run_as
    h.join()
    h.run(2)
    return h


def accounts(h: Harness) -> list[str]:
    return [said.order.run_as for _, said in h.sent if isinstance(said, StartTask)]


def explained(h: Harness, number: JobId) -> ExplainView:
    return outlook(h.cluster.state, h.job(number), h.now)


def test_an_order_names_the_account_of_who_owns_the_job() -> None:
    h = started(RunAs(ADA, "same"))
    for user in ("ada", "bob"):
        h.submit(job().gpus(1), user=user)
    h.run(3)
    assert accounts(h) == ["ada.l", "bob"]


def test_without_the_table_an_order_names_nobody_and_every_node_will_do() -> None:
    h = started(None, can_run_as=False)
    h.submit(job().gpus(1), user="ada")
    h.run(3)
    assert accounts(h) == [""]


def test_who_has_no_account_may_not_submit() -> None:
    h = started(RunAs(ADA))
    answer = h.ask(Submit(job().build(), "t"), user="bob", role="submitter")
    assert answer == Denied(
        "not_allowed",
        "the site file names no account of the hosts for bob ([run_as]); ask an operator for one",
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
    assert "its keeper may not start tasks as other accounts" in str(refusal)


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
            assert "names no account of the hosts for ada" in explained(h, number).reason
    assert accounts(h) == ["ada.l"]
