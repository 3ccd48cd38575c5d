"""Jobs with secrets start only where agents report all of them, and wait with the reason."""

import msgspec

from support.core.harness import Harness, joined, running
from support.core.sites import job, site
from wattline_protocol.data.secrets import SecretName, SecretNames
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.job.spec import SecretUse
from wattline_protocol.wire.agent_messages import StartTask
from wattline_scheduler.plan.model.column_writer import MANY_SETS


def three_nodes() -> Harness:
    return joined(site().rack("a", 3).build())


def report(here: Harness, node: str, *names: str) -> None:
    epoch = here.cluster.state.epoch
    incarnation = here.cluster.state.nodes[NodeId(node)].incarnation
    here.say(
        node, SecretNames(epoch, incarnation, tuple(SecretName(*one.split("/")) for one in names))
    )
    here.settle()


def submit(here: Harness, *entries: str, nodes: int = 1, user: str = "ada") -> JobId:
    wanted = job().gpus(1).nodes(nodes)
    uses = {f"KEY{number}": SecretUse(entry) for number, entry in enumerate(entries)}
    wanted.spec = msgspec.structs.replace(wanted.spec, secrets=uses)
    return here.submit(wanted, user=user)


def placed(here: Harness, number: JobId) -> list[str]:
    return sorted(node for node, _ in running(here, number))


def test_a_job_waits_with_the_names_of_its_secrets_and_starts_where_all_are() -> None:
    here = three_nodes()
    number = submit(here, "wandb", "hf")
    here.run(2)
    assert (
        here.job(number).wait_reason
        == "no node has secret hf of user ada, secret wandb of user ada"
    )
    report(here, "a1", "ada/wandb")
    report(here, "a2", "bob/hf", "bob/wandb")
    here.run(2)
    assert here.job(number).wait_reason == "no node has secret hf of user ada"
    assert placed(here, number) == []
    report(here, "a3", "ada/hf", "ada/wandb", "bob/hf")
    here.run(2)
    assert placed(here, number) == ["a3"]
    (start,) = here.sent_to("a3", StartTask)
    assert isinstance(start, StartTask)
    assert (start.order.owner, start.order.secrets["KEY1"]) == ("ada", SecretUse("hf"))


def test_a_gang_needs_them_on_each_of_its_nodes() -> None:
    here = three_nodes()
    report(here, "a1", "ada/wandb")
    number = submit(here, "wandb", nodes=2)
    here.run(2)
    assert placed(here, number) == []
    assert "secret wandb of user ada" in here.job(number).wait_reason
    report(here, "a3", "ada/wandb")
    here.run(2)
    assert placed(here, number) == ["a1", "a3"]


def test_an_entry_that_is_removed_counts_no_longer_and_a_new_connection_begins_without() -> None:
    here = three_nodes()
    report(here, "a1", "ada/wandb")
    report(here, "a1")
    number = submit(here, "wandb")
    here.run(2)
    assert placed(here, number) == []
    report(here, "a2", "ada/wandb")
    here.run(2)
    assert placed(here, number) == ["a2"]
    here.agent("a2").say_hello()
    here.settle()
    assert here.node("a2").secrets == frozenset()
    assert here.job(number).record.state == "RUNNING"


def test_no_user_gets_a_node_by_the_entry_of_another() -> None:
    here = three_nodes()
    report(here, "a1", "ada/wandb")
    number = submit(here, "wandb", user="bob")
    here.run(2)
    assert here.job(number).wait_reason == "no node has secret wandb of user bob"


def test_many_sets_of_names_over_time_leave_no_trace_in_the_planner() -> None:
    here = three_nodes()
    number = submit(here, "last")
    for count in range(3 * MANY_SETS):
        report(here, "a1", f"ada/e{count}")
    report(here, "a2", "ada/last")
    here.run(2)
    assert placed(here, number) == ["a2"]
    columns = here.cluster.state.fleet_view.columns
    assert len(columns.label_sets) <= MANY_SETS + 1
    assert columns.label_sets[columns.label_set[1]] == here.node("a2").labels
