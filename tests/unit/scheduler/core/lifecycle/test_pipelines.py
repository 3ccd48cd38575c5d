"""Jobs that make versions of data sets: published when they have succeeded, all or nothing."""

import msgspec
import pytest

from support.core.harness import Harness, running
from support.core.node_data import add, holding, sha, started
from support.core.outputs import made, makes, node_of, output, publishes, reason, say, with_data
from support.core.sites import JobBuilder, job
from wattline_protocol.data.requests import (
    AddData,
    ApproveData,
    DataVersions,
    GetData,
    Origin,
    RebuildData,
    RemoveData,
    ReportDeletion,
    VersionView,
)
from wattline_protocol.data.site_data import SiteData
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import DataSpec
from wattline_protocol.wire.agent_messages import ForgetTask, StartTask
from wattline_protocol.wire.client_messages import (
    Cancel,
    DeclareOff,
    Denied,
    Requeue,
    Submitted,
)
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.records import GangRecord
from wattline_scheduler.views.data.data_sets_view import answer_data


def ended(h: Harness, number: JobId) -> tuple[str, str, str]:
    record = h.job(number).record
    return record.state, record.reason, record.made


def publishing(h: Harness) -> JobId:
    """A job whose tasks have succeeded."""
    number = h.submit(makes("features"))
    h.run(2)
    h.end_tasks()
    return number


def test_an_output_becomes_a_version_and_only_then_the_job_is_complete() -> None:
    h = started()
    number = h.submit(makes("features"))
    h.run(2)
    (order,) = [m.order for m in h.sent_to("a1", StartTask) if isinstance(m, StartTask)]
    assert order.has_output
    h.end_tasks()
    assert not running(h, number)  # its GPUs are free
    assert h.state_of(number) == "RUNNING"
    (wanted,) = publishes(h, "a1")
    assert (wanted.store, wanted.user, wanted.equals) == ("/srv", "ada", None)
    assert reason(h, number) == "publishing features on a1"
    output(h, number, state="publishing", done=829)
    assert reason(h, number) == "publishing features: 41 % on a1"
    assert not h.sent_to("a1", ForgetTask)
    h.run(5)  # the agent repeats the end
    assert not h.sent_to("a1", ForgetTask)
    output(h, number, 7)
    assert ended(h, number) == ("COMPLETED", "", "features@v1")
    (version,) = h.cluster.state.data.live("features")
    assert (version.sha256, version.created_by) == (sha(7), "ada")
    assert version.made_from == (Origin("run", f"{number}#1", order.job_name),)
    h.run(2)
    assert h.sent_to("a1", ForgetTask)
    assert publishes(h, "a1") == ()


def test_a_store_that_is_away_ends_nothing_and_a_content_that_is_no_version_does() -> None:
    h = started()
    number = publishing(h)
    output(h, number, state="waiting", detail="its store is away: no route")
    h.run(120)
    assert reason(h, number) == "publishing features on a1: its store is away: no route"
    output(h, number, state="failed", detail="link is a link to /etc, outside of it")
    why = "its output is no version of features: link is a link to /etc, outside of it"
    assert ended(h, number) == ("FAILED", why, "")
    assert not h.cluster.state.data.live("features")
    h.run(2)
    assert h.sent_to("a1", ForgetTask)


def test_it_goes_on_after_a_restart_of_the_scheduler() -> None:
    h = started()
    number = publishing(h)
    h.restart_scheduler()
    h.join()
    h.run(3)
    assert h.state_of(number) == "RUNNING"
    say(h, "a1")
    assert [one.ref.job for one in publishes(h, "a1")] == [number]
    output(h, number, 7)
    assert ended(h, number) == ("COMPLETED", "", "features@v1")
    h.restart_scheduler()
    assert h.cluster.state.data.live("features")[0].recipe is not None


@pytest.mark.parametrize("how", ["restart", "gone", "off"])
def test_an_output_that_may_be_damaged_is_made_again(how: str) -> None:
    h = started(1)
    number = publishing(h)
    if how == "gone":
        output(h, number, state="gone")
    elif how == "restart":
        node = h.node("a1")
        node.record = msgspec.structs.replace(node.record, boot_id="another")
        h.run(1)
    else:
        h.cut_off.add(h.node("a1").id)
        h.run(20)
        assert reason(h, number).endswith("its output is on a1, which does not answer")
        h.do(DeclareOff(h.node("a1").id, "a1"))
        h.run(1)
        h.cut_off.clear()
        h.join("a1")
        say(h, "a1")
    assert h.gang(number).losses == 1
    assert not h.cluster.state.data.live("features")
    h.run(5)
    h.end_tasks()
    output(h, number, 7)
    assert ended(h, number) == ("COMPLETED", "", "features@v1")
    (version,) = h.cluster.state.data.live("features")
    assert version.made_from[0].name == f"{number}#2"


@pytest.mark.parametrize("is_saved", [False, True])
def test_an_output_whose_node_leaves_the_site_is_made_again(is_saved: bool) -> None:
    """The first rank has ended, so that nothing of its job lives there, or all have."""
    h = started(3)
    number = h.submit(with_data(DataSpec(makes="features")).nodes(2))
    h.run(2)
    first, *others = [a for gang in h.job(number).gangs for a in gang.live]
    h.agent(first.node).end(first.record.ref, 0)
    h.settle()
    if is_saved:
        h.end_tasks()
    h.cut_off.add(first.node)
    h.run(20)
    h.do(DeclareOff(first.node, str(first.node)))
    gone, kept = first.node, tuple(one for one in h.site.nodes if one.id != first.node)
    h.site = msgspec.structs.replace(h.site, nodes=kept)
    del h.agents[gone]
    if is_saved:  # as it was when the scheduler ended, with the node declared off by its successor
        (saved,) = [one for one in h.disk.of(GangRecord) if one.job == number]
        h.disk.save(msgspec.structs.replace(saved, phase="publishing"))
    h.restart_scheduler()
    h.join()
    for one in others:
        h.agent(one.node).end_all(0)
    h.run(20)
    assert h.job(number).record.state == "RUNNING"
    assert h.gang(number).attempt == 2
    assert gone not in {node for node, _ in running(h, number)}


def test_a_try_that_fails_leaves_nothing() -> None:
    h = started()
    number = h.submit(makes("features"))
    h.run(2)
    h.end_tasks(1)
    assert h.state_of(number) == "FAILED"
    h.run(2)
    assert publishes(h, "a1") == ()
    assert h.sent_to("a1", ForgetTask)


def test_a_job_may_be_cancelled_and_requeued_while_it_publishes() -> None:
    h = started()
    number = publishing(h)
    h.do(Requeue(only(number), "again"))
    h.run(2)
    assert running(h, number)
    assert h.gang(number).attempt == 2
    h.end_tasks()
    h.do(Cancel(only(number)))
    assert h.state_of(number) == "CANCELLED"
    kept = h.gang(number).attempt
    h.run(2)
    assert publishes(h, "a1") == ()
    forgotten = [m.ref.attempt for m in h.sent_to("a1", ForgetTask) if isinstance(m, ForgetTask)]
    assert kept in forgotten, "the node keeps no output of a cancelled job"
    assert not h.cluster.state.data.live("features")


def test_objects_are_looked_at_again_after_a_deletion() -> None:
    h = started()
    add(h, 3, name="old")
    number = publishing(h)
    before = publishes(h, "a1")[0].as_of
    h.ask(RemoveData("old@v1"), user="ada")
    h.run(1)
    assert publishes(h, "a1")[0].as_of == ""
    output(h, number, 7, as_of=before)
    assert h.state_of(number) == "RUNNING"
    h.ask(ReportDeletion("old", 1, 1, 1), user="ada")
    h.run(1)
    assert publishes(h, "a1")[0].as_of not in ("", before)
    output(h, number, 7, as_of=before)
    assert h.state_of(number) == "RUNNING"
    output(h, number, 7)
    assert ended(h, number) == ("COMPLETED", "", "features@v1")


def test_the_same_content_is_the_same_version_and_two_jobs_make_two() -> None:
    h = started()
    first, second = publishing(h), publishing(h)
    output(h, second, 2)
    output(h, first, 1)
    assert [ended(h, one)[2] for one in (first, second)] == ["features@v2", "features@v1"]
    again = made(h, makes("features"), 1)
    assert ended(h, again)[2] == "features@v2"


def test_the_first_task_of_a_gang_has_the_output_and_keeps_it_until_all_have_succeeded() -> None:
    h = started(2)
    spec = msgspec.structs.replace(job().nodes(2).build(), data=DataSpec(makes="features"))
    number = h.submit(JobBuilder(spec))
    h.run(2)
    orders = [
        m.order for n in ("a1", "a2") for m in h.sent_to(n, StartTask) if isinstance(m, StartTask)
    ]
    assert {one.node_rank: one.has_output for one in orders} == {0: True, 1: False}
    first = next(str(node) for node, ref in running(h, number) if ref.task == 0)
    h.end_tasks(only=lambda agent: agent.node == first)
    h.run(3)
    assert not h.sent_to(first, ForgetTask)
    h.end_tasks()
    assert node_of(h, number) == first
    output(h, number, 7)
    assert ended(h, number)[2] == "features@v1"


def test_a_chain_reads_what_the_one_before_made_even_if_another_is_newer() -> None:
    h = started()
    first = h.submit(makes("raw"))
    second = h.submit(makes("features", "raw@latest", after_ok=(first,)))
    assert h.job(second).spec.data.datasets == ("raw@latest",)
    h.run(2)
    h.end_tasks()
    output(h, first, 1)
    add(h, 2, name="raw")
    assert h.job(second).spec.data.datasets == ("raw@v1",)
    assert [sorted(names) for names in holding(h).values()] == [["raw@v1"]]
    h.restart_scheduler()
    assert h.job(second).spec.data.datasets == ("raw@v1",)


def test_the_latest_of_other_sets_is_resolved_when_the_job_becomes_eligible() -> None:
    h = started()
    add(h, 1, name="words")
    first = h.submit(job())
    second = h.submit(with_data(DataSpec(("words@latest",)), (first,)))
    add(h, 2, name="words")
    h.run(2)
    h.end_tasks()
    h.run(1)
    assert h.job(second).spec.data.datasets == ("words@v2",)


def test_a_chain_reads_a_candidate_that_the_one_before_made() -> None:
    h = started()
    made(h, makes("raw"), 1)
    state = h.cluster.state.data
    state.put_set(msgspec.structs.replace(state.sets["raw"], reviewers=("eve",)))
    first = h.submit(makes("raw"))
    second = h.submit(makes("features", "raw@latest", after_ok=(first,)))
    h.run(2)
    h.end_tasks()
    output(h, first, 2)
    assert state.live("raw")[-1].state == "candidate"
    assert h.job(second).spec.data.datasets == ("raw@v2",)


@pytest.mark.parametrize(
    ("data", "user", "why"),
    [
        (DataSpec(makes="raw"), "bob", "data.makes: dataset raw belongs to ada; you are bob"),
        (
            DataSpec(makes="raw", makes_model=True),
            "ada",
            "data.makes: raw is a data set (no --model)",
        ),
        (DataSpec(("features@latest",)), "ada", "there is no data set features; there are raw"),
        (DataSpec(rebuilds="raw@v2"), "ada", "raw@v2 does not exist; raw has v1"),
        (DataSpec(rebuilds="raw@v1"), "bob", "dataset raw belongs to ada, whose jobs make its"),
    ],
)
def test_what_a_user_may_not_make_is_refused_when_it_is_submitted(
    data: DataSpec, user: str, why: str
) -> None:
    h = started()
    number = made(h, makes("raw"), 1)
    assert why in h.refuse(with_data(data, (number,)), user=user)


def test_the_set_of_an_accepted_job_is_its_owners_until_it_has_a_version() -> None:
    h = started()
    number = publishing(h)
    taken = "dataset features belongs to ada; you are bob"
    assert taken in h.refuse(makes("features"), user="bob")
    as_of = h.cluster.state.data.as_of(h.cluster.state.epoch)
    request = AddData("features", "dataset", "/srv", as_of, sha(1), 1, 1, 1)
    refused = h.ask(request, user="bob", role="submitter")
    assert isinstance(refused, Denied)
    assert taken in refused.reason
    h.restart_scheduler()
    h.join()
    assert taken in h.refuse(makes("features"), user="bob")
    say(h, "a1")
    output(h, number, 2)
    assert ended(h, number) == ("COMPLETED", "", "features@v1")


def test_a_new_set_in_a_bucket_takes_the_secret_of_the_job_that_makes_it() -> None:
    h = started()
    state = h.cluster.state
    state.site = msgspec.structs.replace(state.site, data=SiteData("s3://bucket"))
    assert h.refuse(makes("features")).endswith(
        'features is stored in s3://bucket; name the secret with its keys: store_secret = "ENTRY"'
    )
    h.submit(with_data(DataSpec(makes="features", store_secret="store")))
    assert state.data.sets["features"].secret == "store"
    h.submit(makes("features"))
    state.data.put_set(msgspec.structs.replace(state.data.sets["features"], secret=""))
    how = "wattline data set features --secret ENTRY"
    assert h.refuse(makes("features")).endswith(how)


def test_an_output_that_may_not_be_registered_is_kept_and_tried_again() -> None:
    h = started()
    number = publishing(h)
    state = h.cluster.state.data
    own = state.sets["features"]
    state.put_set(msgspec.structs.replace(own, owner=UserName("bob")))
    output(h, number, 2)
    h.run(60)
    assert h.state_of(number) == "RUNNING"
    assert reason(h, number) == (
        "the output is kept; features cannot be registered yet: dataset features belongs to bob; "
        "you are ada: choose another name"
    )
    assert not h.sent_to("a1", ForgetTask)
    state.put_set(own)
    h.run(2)
    assert ended(h, number) == ("COMPLETED", "", "features@v1")


def test_a_rebuild_is_compared_and_makes_no_version() -> None:
    h = started()
    made(h, makes("raw"), 1)
    for state, detail in (("equal", ""), ("failed", "1 file differs: changed a.csv")):
        number = h.submit(with_data(DataSpec(rebuilds="raw@v1")))
        h.run(2)
        h.end_tasks()
        (wanted,) = publishes(h, "a1")
        assert wanted.equals == sha(1)
        assert reason(h, number) == "comparing with raw@v1 on a1"
        output(h, number, state=state, detail=detail)  # type: ignore[arg-type]
        why = "its output is not equal to raw@v1: 1 file differs: changed a.csv"
        is_equal = state == "equal"
        expected = ("COMPLETED", "", "raw@v1") if is_equal else ("FAILED", why, "")
        assert ended(h, number) == expected
    assert len(h.cluster.state.data.live("raw")) == 1


def shown(h: Harness, reference: str, user: str = "ada") -> VersionView:
    answer = answer_data(h.cluster.state, Asker(UserName(user), "submitter"), GetData(reference))
    assert isinstance(answer, DataVersions)
    return answer.version


def test_what_was_made_from_an_older_version_is_stale_over_any_number_of_steps() -> None:
    h = started()
    raw = made(h, makes("raw"), 1)
    features = made(h, makes("features", "raw@latest", after_ok=(raw,)), 2)
    made(h, makes("net", "features@latest", after_ok=(features,)), 3)
    assert shown(h, "net@v1").stale == ()
    made(h, makes("raw"), 4)
    assert shown(h, "features@v1").stale == (("raw@v1", "raw@v2"),)
    assert shown(h, "net@v1").stale == (("raw@v1", "raw@v2"),)
    assert set(shown(h, "raw@v2").outdates) == {"features@v1", "net@v1"}
    assert shown(h, "raw@v1").outdates == ()
    made(h, makes("raw"), 1)
    assert shown(h, "net@v1").stale == ()  # the same content again
    made(h, makes("raw"), 4)
    made(h, makes("features", "raw@latest"), 5)
    assert set(shown(h, "raw@v4").outdates) == {"net@v1"}


def test_a_recipe_is_submitted_again_by_its_owner_alone() -> None:
    h = started()
    first = made(h, makes("raw"), 1)
    made(h, makes("features", "raw@latest", after_ok=(first,)), 2)
    add(h, 3, name="raw")
    answer = h.ask(RebuildData("features@v1", "token"), user="ada", role="submitter")
    assert isinstance(answer, Submitted), answer
    spec = h.job(answer.job).spec
    assert spec.data == DataSpec(("raw@v1",), rebuilds="features@v1")
    assert (spec.after_ok, spec.hold) == ((), False)
    again = h.ask(RebuildData("features@v1", "token"), user="ada", role="submitter")
    assert again == answer
    for reference, user, why in (
        ("features@v1", "bob", "dataset features belongs to ada; you are bob"),
        ("raw@v2", "ada", "raw@v2 was added by ada, not made by a job"),
        ("features@v9", "ada", "features@v9 does not exist"),
    ):
        refused = h.ask(RebuildData(reference, "other"), user=user, role="operator")
        assert isinstance(refused, Denied)
        assert why in refused.reason


def test_a_rebuild_needs_what_the_version_was_made_from() -> None:
    h = started()
    first = made(h, makes("raw"), 1)
    made(h, makes("features", "raw@latest", after_ok=(first,)), 2)
    h.ask(RemoveData("raw@v1"), user="ada")
    refused = h.ask(RebuildData("features@v1", "token"), user="ada", role="submitter")
    assert isinstance(refused, Denied)
    assert refused.reason == "raw@v1 was removed by ada; it has no other version"


def test_a_restart_between_the_end_of_a_job_and_of_the_wait_for_it() -> None:
    h = started()
    first = h.submit(makes("raw"))
    second = h.submit(makes("features", "raw@latest", after_ok=(first,)))
    h.run(2)
    h.end_tasks()
    record = msgspec.structs.replace(h.job(second).record)
    output(h, first, 1)
    h.save(record)  # as if the scheduler had died before it passed the end on
    add(h, 2, name="raw")
    h.restart_scheduler()
    assert h.job(second).spec.data.datasets == ("raw@v1",)


def test_a_version_is_checked_against_the_one_that_its_reviewers_approved() -> None:
    h = started()
    made(h, makes("raw"), 1)
    made(h, makes("raw"), 2)
    h.do(ApproveData("raw@v1", "stable"), user="ada", role="submitter")
    number = h.submit(makes("raw"))
    h.run(2)
    h.end_tasks()
    (wanted,) = publishes(h, "a1")
    assert (wanted.is_checked, wanted.before, wanted.before_sha256) == (True, 1, sha(1))
    output(h, number, 3)
    model = h.submit(with_data(DataSpec(makes="net", makes_model=True)))
    h.run(2)
    h.end_tasks()
    (wanted,) = publishes(h, "a1")
    assert not wanted.is_checked
    output(h, model, 4)
    assert h.cluster.state.data.sets["net"].kind == "model"


def test_the_output_of_a_large_gang_is_kept_though_many_tasks_ended_after_the_first() -> None:
    h = started()
    number = publishing(h)
    h.gang(number).past.clear()  # others have taken the place of the first one
    h.run(3)  # its agent repeats the end
    assert not h.sent_to("a1", ForgetTask)
    output(h, number, 7)
    assert ended(h, number)[2] == "features@v1"
    h.run(2)
    assert h.sent_to("a1", ForgetTask)
