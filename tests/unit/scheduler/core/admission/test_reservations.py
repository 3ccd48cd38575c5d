"""Reservations: rights, which jobs start where and when, what is reported, and restarts."""

import msgspec
import pytest

from support.core.harness import Harness, running
from support.core.parts import explain_job, what_if
from support.core.reserved import HOUR_S, kept, nodes_of, reason, started
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import JobId, NodeId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.site.model import Account
from wattline_protocol.text.quantities import MAX_DURATION_S
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_protocol.wire.client_messages import Answer, Denied, Done, Update
from wattline_protocol.wire.reservations import ReservationView, Reserve, Unreserve
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.requests.reserve import MAX_RESERVATIONS, MAX_WORDS
from wattline_scheduler.plan.model.reserved_nodes import NEAR_S
from wattline_scheduler.views.nodes_view import node_view
from wattline_scheduler.views.reservations_view import reservation_views


def shown(h: Harness) -> tuple[ReservationView, ...]:
    return reservation_views(h.cluster.state, h.now)


def full(h: Harness, *builders: JobBuilder) -> list[JobId]:
    return [h.submit(one) for one in builders]


# --- making them ------------------------------------------------------------------------------


def test_only_operators_make_and_take_back() -> None:
    h = started()
    for request in (kept(), Unreserve("course")):
        denied = h.ask(request, user="ada", role="submitter")
        assert isinstance(denied, Denied)
        assert denied.kind == "not_allowed"
    assert h.do(kept(), user="olga").startswith("course: 1 node (a1) for user ada from ")
    (made,) = h.events("reservation_made")
    assert made.actor == "olga"
    h.do(Unreserve("course", "moved"), user="olga")
    (over,) = h.events("reservation_over")
    assert (over.actor, over.text) == ("olga", "reservation course was cancelled (moved)")
    assert shown(h) == ()


def test_so_many_nodes_are_those_that_are_free_soonest() -> None:
    h = started(nodes=4)
    long, short, endless = full(
        h, job().gpus(8).runtime(4 * HOUR_S), job().gpus(8).runtime(600.0), job().gpus(8)
    )
    (free,) = {"a1", "a2", "a3", "a4"} - {nodes_of(h, n)[0] for n in (long, short, endless)}
    h.do(kept("one", count=1))
    h.do(kept("later", gpus=16, start="in 2h"))
    one, later = shown(h)
    assert one.nodes == (free,)
    assert set(later.nodes) == {free, nodes_of(h, short)[0]}
    with_endless = h.do(kept("all", count=2, start="in 5h"))
    assert "and may still" not in with_endless
    now = h.do(kept("now", nodes=(nodes_of(h, endless)[0],)))
    assert now.endswith(f"; job {endless} still runs there")
    text = h.do(kept("those", nodes=("a*",), start="in 7h"))
    assert text.endswith(f"; job {endless} runs there and may not end before it begins")


def test_a_node_that_is_not_up_is_chosen_last() -> None:
    h = started(nodes=2)
    h.cut_off.add(NodeId("a1"))
    h.run(20)
    h.do(kept(count=1))
    assert shown(h)[0].nodes == ("a2",)


def test_labels_models_and_patterns_choose_together() -> None:
    labelled = site().rack("a", 2, kw=80.0).rack("b", 2, kw=80.0, labels={"fabric": "ib"})
    h = Harness(labelled.site_budget(160.0).build())
    h.join()
    h.do(kept("ib", nodes=(), labels={"fabric": "ib"}))
    h.do(kept("h100", nodes=("a*", "b1"), gpu_type=("H100",), start="in 2h"))
    assert [one.nodes for one in shown(h)] == [("b1", "b2"), ("a1", "a2", "b1")]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (kept(nodes=("c1",)), "there is no node 'c1'"),
        (kept(count=3), "requests 3 nodes; only 2 of 2 matching nodes not reserved then"),
        (kept(gpus=17), "requests 17 GPUs; only 16 GPUs of 2 matching nodes"),
        (kept(gpu_type=("a100",)), "no node has a name matching a1 and a100 GPUs"),
        (kept(labels={"fabric": "ib"}), "no node has a name matching a1 and fabric=ib"),
        (kept(nodes=()), "specify the nodes"),
        (kept(count=1, gpus=8), "or of GPUs (--gpus)"),
        (kept(accounts=("a",), is_maintenance=True), "specify accounts or users"),
        (kept(users=(), for_s=1.0), "specify accounts or users"),
        (kept(end="in 2h"), "either --until 20:00 or --for 2h"),
        (kept(for_s=0.0), "either --until 20:00 or --for 2h"),
        (kept(start="tomorrow"), "'tomorrow' is not a time"),
        (kept(start="2023-11-14T20:00"), "begin now (without --from) or within a year"),
        (kept(start="2025-11-14T20:00"), "begin now (without --from) or within a year"),
        (kept(for_s=400 * 86_400.0), "within a year of it"),
        (kept("a b"), 'the name of the reservation: "a b" is not a valid name'),
        (kept(users=("",)), "each of 1 to 128 characters"),
        (kept(users=("u",) * (MAX_WORDS + 1)), "at most 1000 words"),
        (kept(reason="x" * 501), "a reason has at most 500 characters"),
        (Unreserve("course"), "there is no reservation 'course'; the site has none"),
    ],
)
def test_what_cannot_be_reserved(request_: Reserve | Unreserve, words: str) -> None:
    h = started()
    denied = h.ask(request_)
    assert isinstance(denied, Denied)
    assert words in denied.reason
    assert shown(h) == ()


def by_operator(h: Harness, request: Reserve, users: tuple[str, ...]) -> Answer:
    """The answer where these may submit."""
    h.handle(ClientRequest(b"c", 9_999, UserName("olga"), "operator", request, users=users))
    return h.replies[9_999]


def test_a_name_that_nobody_has_is_refused_unless_work_of_it_is_there() -> None:
    h = started()
    h.submit(job(), user="gone")
    advice = "enroll new users first: `wattline enroll NAME --role submitter`"
    for users, hint in [(("bea", "adam"), "the nearest is adam"), (("bea",), "the site has bea")]:
        denied = by_operator(h, kept(), users)
        assert denied == Denied("not_found", f"there is no user 'ada'; {hint}; {advice}")
    assert shown(h) == ()
    assert isinstance(by_operator(h, kept(), ("ada", "bea")), Done)
    request = kept("work", nodes=("a2",), users=("gone",))
    assert isinstance(by_operator(h, request, ("bea",)), Done)


def test_a_node_has_one_reservation_at_a_time() -> None:
    h = started()
    h.do(kept("morning", start="in 1h"))
    denied = h.ask(kept("noon", start="in 1h59m", nodes=("a*",)))
    assert isinstance(denied, Denied)
    assert "overlaps reservation morning from 2023-11-14 23:13 UTC" in denied.reason
    h.do(kept("noon", start="in 2h"))
    h.do(kept("now"))
    assert [one.name for one in shown(h)] == ["now", "morning", "noon"]
    h.do(Unreserve("now"))
    h.do(kept("now", is_maintenance=True))


def test_there_are_only_so_many() -> None:
    h = started()
    h.do(kept())
    made = h.cluster.state.reservations["course"]
    for number in range(1, MAX_RESERVATIONS):
        start = made.end_unix_s + number * HOUR_S
        other = msgspec.structs.replace(
            made, name=f"r{number}", start_unix_s=start, end_unix_s=start + 1
        )
        h.cluster.state.reservations[other.name] = other
    h.cluster.state.reserved = None
    denied = h.ask(kept("one-more", nodes=("a2",)))
    assert isinstance(denied, Denied)
    assert denied.kind == "busy"


# --- who starts where -------------------------------------------------------------------------


def test_others_start_elsewhere_while_it_is_active_and_there_when_it_is_over() -> None:
    h = started()
    h.do(kept(for_s=60.0))
    first, second = full(h, job().gpus(8), job().gpus(8))
    assert nodes_of(h, first) == ["a2"]
    assert "waits for reservation: a1: reserved as course for user ada until " in reason(h, second)
    h.run(60)
    assert nodes_of(h, second) == ["a1"]


def test_before_it_begins_only_who_ends_in_time_starts_there() -> None:
    h = started(nodes=1)
    h.do(kept(start="in 1h"))
    for builder in (job(), job().runtime(HOUR_S), job().service(1)):
        assert h.state_of(h.submit(builder.gpus(1))) == "PENDING"
    assert h.state_of(h.submit(job().gpus(1).runtime(1_800.0))) == "RUNNING"


def test_what_is_learned_of_such_jobs_counts_as_their_end() -> None:
    h = started(nodes=1)
    for _ in range(3):
        number = h.submit(job().command("known").gpus(1))
        (node, ref) = running(h, number)[0]
        h.agent(node).end(ref, 0, run_s=60.0)
        h.settle()
    h.do(kept(start="in 10m"))
    assert h.state_of(h.submit(job().command("known").gpus(1))) == "RUNNING"
    assert h.state_of(h.submit(job().command("unknown").gpus(1))) == "PENDING"


def test_whose_end_nobody_knows_starts_until_it_is_near() -> None:
    h = started(nodes=1)
    h.do(kept(start=f"in {round(NEAR_S) + 60}s"))
    assert h.state_of(h.submit(job().gpus(1))) == "RUNNING"
    h.run(61)
    late = h.submit(job().gpus(1))
    assert reason(h, late).endswith("and it may not end by then (--time)")
    missing = explain_job(h.cluster.state, h.job(late), h.now).refusals[0].missing
    assert missing.endswith("and the job has no time limit (--time)")


def test_what_is_said_of_all_alike_holds_for_each() -> None:
    h = started(nodes=1)
    h.do(kept(start="in 1h"))
    unknown, known = h.submit(job().gpus(1)), h.submit(job().gpus(1).runtime(2 * HOUR_S))
    assert reason(h, unknown) == reason(h, known)
    assert "no time limit" not in reason(h, known)
    assert (
        explain_job(h.cluster.state, h.job(known), h.now)
        .refusals[0]
        .missing.endswith("its time limit is 2h5s")
    )


def test_the_longest_time_limit_is_said_as_it_is() -> None:
    """With its grace period it is more than a duration can say."""
    h = started(nodes=1)
    h.do(kept(start="in 1h"))
    number = h.submit(job().gpus(1).runtime(MAX_DURATION_S))
    missing = explain_job(h.cluster.state, h.job(number), h.now).refusals[0].missing
    assert missing.endswith("its time limit is 3650d")


def test_who_is_in_it_starts_when_it_begins_and_only_on_its_nodes() -> None:
    h = started()
    h.do(kept(start="in 1m", for_s=60.0))
    inside = h.submit(job().gpus(8).reservation("course"))
    assert reason(h, inside).startswith("waits for its reservation course, which begins 2023-11-14")
    h.run(60)
    assert nodes_of(h, inside) == ["a1"]
    waits = h.submit(job().gpus(8).reservation("course"))
    assert reason(h, waits) == "waits for gpus: a1: 8 more free GPUs", "though a2 is free"
    (begun,) = h.events("reservation_begun")
    assert "course has begun: 1 node (a1) for user ada" in begun.text
    h.run(60)
    assert h.state_of(inside) == "RUNNING", "what runs when it ends runs on"
    over = "its reservation course has ended or was cancelled; name another one, or none, with "
    assert reason(h, waits) == f"can never start: {over}`wattline update --reservation`"
    h.do(Update(only(waits), {"reservation": "none"}))
    h.run(1)
    assert nodes_of(h, waits) == ["a2"]


def test_a_node_says_what_is_reserved_of_it() -> None:
    h = started()
    h.do(kept("now", for_s=60.0))
    h.do(kept("later", nodes=("a*",), start="in 1h", is_maintenance=True))
    reported = [node_view(h.cluster.state, h.node(name), h.now).reserved for name in ("a1", "a2")]
    assert reported[0].startswith("reserved as now for user ada until 2023-11-14 22:14")
    assert reported[1].startswith("reservation later for maintenance begins 2023-11-14 23:13")
    h.run(61)
    assert "later" in node_view(h.cluster.state, h.node("a1"), h.now).reserved
    h.do(Unreserve("later"))
    assert not node_view(h.cluster.state, h.node("a1"), h.now).reserved


def test_what_runs_when_it_begins_runs_on_and_is_shown() -> None:
    h = started()
    other = h.submit(job().gpus(4))
    h.do(kept(nodes=tuple(nodes_of(h, other))))
    inside = h.submit(job().gpus(2).reservation("course"))
    h.run(5)
    assert h.state_of(other) == "RUNNING"
    (one,) = shown(h)
    assert (one.state, one.jobs, one.others) == ("active", (inside,), (other,))
    assert (one.gpus, one.gpus_free) == (8, 2)
    (begun,) = h.events("reservation_begun")
    assert begun.text.endswith(f"; job {other} still runs there")


@pytest.mark.parametrize(
    ("user", "account", "is_let_in"),
    [
        ("ada", "", False),
        ("ada", "vision", True),
        ("ada", "research", True),
        ("ada", "ops", False),
        ("eve", "", True),
        ("eve", "ops", True),
    ],
)
def test_it_is_for_its_accounts_those_below_and_its_users(
    user: str, account: str, *, is_let_in: bool
) -> None:
    h = started(Account("research"), Account("vision", parent="research"), Account("ops"))
    h.do(kept(accounts=("research",), users=("eve",)))
    builder = job().gpus(1).reservation("course")
    spec = (builder.account(account) if account else builder).build()
    answer = what_if(h.cluster.state, user, spec, {}, h.now)  # type: ignore[arg-type]  # a name
    assert isinstance(answer, Denied) != is_let_in
    if isinstance(answer, Denied):
        assert answer.kind == "not_allowed"
        assert "is for account research, user eve; this is" in answer.reason


def test_nobody_is_let_into_maintenance() -> None:
    h = started()
    h.do(kept(is_maintenance=True))
    text = "reservation course is for maintenance; this is user ada"
    assert h.refuse(job().reservation("course")) == text


def test_an_update_is_held_to_the_same_rules() -> None:
    h = started()
    h.do(kept("hers", start="in 1h"))
    h.do(kept("his", nodes=("a2",), start="in 1h", users=("bob",)))
    number = h.submit(job().reservation("hers"))
    answer = h.ask(Update(only(number), {"reservation": "his"}))
    assert isinstance(answer, Denied)
    assert "reservation his is for user bob; this is user ada" in answer.reason
    h.do(Unreserve("hers"))
    assert reason(h, number).startswith("can never start: its reservation hers has ended or")
    h.do(kept("hers", end="in 30m", for_s=0.0))
    h.run(1)
    assert nodes_of(h, number) == ["a1"]


def test_others_are_sent_away_only_where_the_gang_may_start() -> None:
    h = started()
    low = full(h, *(job().gpus(8).priority(10) for _ in range(2)))
    h.run(70)
    for agent in h.agents.values():
        for task in agent.tasks.values():
            task.usage = TaskUsage(run_s=70.0)
    h.run(2)
    h.do(kept(users=("ada",)))
    outside = h.submit(job().gpus(8).priority(90))
    h.run(1)
    (one,) = h.events("gang_preempted")
    (gone,) = [n for n in low if n == one.job]
    assert nodes_of(h, gone) in ([], ["a2"])
    h.run(40)
    assert nodes_of(h, outside) == ["a2"]
    inside = h.submit(job().gpus(8).priority(90).reservation("course"))
    h.run(40)
    assert nodes_of(h, inside) == ["a1"]


# --- explain ----------------------------------------------------------------------------------


def test_an_estimated_start_knows_when_reservations_end_and_begin() -> None:
    h = started(nodes=1)
    h.do(kept(for_s=600.0))
    other = h.submit(job().gpus(8).runtime(60.0))
    view = explain_job(h.cluster.state, h.job(other), h.now)
    assert view.start_why == "after reservation course ends"
    assert view.start_unix_s == pytest.approx(h.now.unix_s + 600.0, abs=1.0)
    h.do(kept("later", start="in 1h"))
    inside = h.submit(job().gpus(8).reservation("later"))
    view = explain_job(h.cluster.state, h.job(inside), h.now)
    assert view.start_why == "after reservation later begins"


@pytest.mark.parametrize(
    ("runtime_s", "why"),
    [(600.0, "after reservation course ends"), (60.0, "after job 1 has ended, at its time limit")],
)
def test_an_end_after_which_another_one_is_too_near_is_no_start(runtime_s: float, why: str) -> None:
    h = started(nodes=1)
    h.submit(job().gpus(8).runtime(HOUR_S))
    h.do(kept(start="in 65m"))
    number = h.submit(job().gpus(8).runtime(runtime_s))
    h.run(1)
    view = explain_job(h.cluster.state, h.job(number), h.now)
    assert view.start_why.startswith(why)


def test_a_shorter_limit_is_told_where_it_would_do() -> None:
    h = started(nodes=1)
    h.do(kept(start="in 1h"))
    number = h.submit(job().gpus(8))
    view = explain_job(h.cluster.state, h.job(number), h.now)
    (helps,) = view.remedies
    assert helps.kind == "time"
    limit = helps.text.removeprefix("with a run time limit of ").partition(" ")[0]
    h.do(Update(only(number), {"time": limit}))
    assert h.state_of(number) == "RUNNING"


# --- what lasts -------------------------------------------------------------------------------


def test_it_survives_a_restart_and_is_told_once() -> None:
    h = started()
    h.do(kept("now", for_s=120.0))
    h.do(kept("later", start="in 3m"))
    h.run(2)
    before = shown(h)
    h.restart_scheduler()
    h.join()
    h.run(2)
    assert [replace_free(one) for one in shown(h)] == [replace_free(one) for one in before]
    assert nodes_of(h, h.submit(job().gpus(8))) == ["a2"]
    assert len(h.events("reservation_begun")) == 1
    h.run(118)
    assert [one.text for one in h.events("reservation_over")] == ["reservation now has ended"]
    h.restart_scheduler()
    assert [one.name for one in shown(h)] == ["later"]


def replace_free(view: ReservationView) -> ReservationView:
    return msgspec.structs.replace(view, gpus_free=0)


def test_one_that_ended_while_the_scheduler_was_away_is_over() -> None:
    h = started()
    h.do(kept(for_s=60.0))
    h.mono_s += 100.0
    h.restart_scheduler()
    h.join()
    h.run(1)
    assert shown(h) == ()
    assert len(h.events("reservation_over")) == 1


def test_a_node_that_left_the_site_file_is_left_out() -> None:
    h = started()
    h.do(kept(nodes=("a1", "a2")))
    left = [node for node in h.site.nodes if node.id != "a1"]
    h.site = msgspec.structs.replace(h.site, nodes=tuple(left))
    h.disk.rows = {k: row for k, row in h.disk.rows.items() if getattr(row, "node", "") != "a1"}
    h.agents.pop(NodeId("a1"))
    h.restart_scheduler()
    h.join()
    number = h.submit(job().gpus(8))
    assert h.state_of(number) == "PENDING"
    assert shown(h)[0].gpus == 8


def test_a_reservation_that_ends_is_not_why_nobody_can_say_when() -> None:
    h = started()
    holder = h.submit(job().gpus(8).nodes(2))
    h.do(kept(is_maintenance=True, nodes=("a1", "a2")))
    waiting = h.submit(job().gpus(8).nodes(2))
    view = explain_job(h.cluster.state, h.job(waiting), h.now)
    said = f"job {holder} holds the resources it needs and has no time limit (--time)"
    assert (view.start_unix_s, view.start_why) == (None, f"unknown: {said}")
    behind = explain_job(h.cluster.state, h.job(h.submit(job().gpus(8).nodes(2))), h.now)
    said = "it depends on run times of jobs ahead of it in the queue"
    assert (behind.start_unix_s, behind.start_why) == (None, f"unknown: {said}")


def test_a_reservation_that_begins_too_late_for_a_deadline_is_told_at_submission() -> None:
    h = started()
    h.do(kept(start="in 2h"))
    asks = job().reservation("course").runtime(1_800).deadline("2023-11-15T00:40:00")
    assert "its reservation course begins 2023-11-15 00:13 UTC, and its" in h.refuse(asks)
    number = h.submit(asks.deadline("2023-11-15T00:50:00"), user="ada")
    h.do(Unreserve("course"))
    h.do(kept(start="in 3h"))
    assert reason(h, number).startswith("cannot end by its deadline (2023-11-15 00:50 UTC): its")
    assert [event.job for event in h.events("deadline_missed")] == [number]
