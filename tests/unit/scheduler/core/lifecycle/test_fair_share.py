"""Who is served first: priority, then the account that used least for its shares, then age."""

import msgspec
import pytest

from support.core.harness import BEAT_S, Harness, joined
from support.core.parts import explain_job, what_if
from support.core.sites import job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.site.model import Account, FairShare, Quota, Site
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_protocol.wire.client_messages import Submit, Update
from wattline_scheduler.core.model.usage.usage import MJ_PER_KWH
from wattline_scheduler.views.accounts_view import account_views

HOUR_S = 3600.0


def built(*accounts: Account, **rules: float) -> Site:
    plain = site().rack("a", 2, kw=40.0).site_budget(40.0).build()
    fair_share = msgspec.structs.replace(FairShare(), **rules)
    return msgspec.structs.replace(plain, accounts=accounts, fair_share=fair_share)


def started(what: Site) -> Harness:
    return joined(what)


@pytest.fixture
def h() -> Harness:
    return started(built())


def uses(h: Harness, number: JobId, hours: float) -> None:
    """Its first task has used so many GPU-hours, a kWh with each, in the time since its start."""
    attempt = h.gang(number).live[0]
    agent = h.agent(attempt.node)
    task = agent.tasks[attempt.record.ref]
    task.usage = TaskUsage(run_s=30.0, gpu_s=hours * HOUR_S, node_energy_mj=int(hours * MJ_PER_KWH))
    agent.say_beat()
    h.settle()


def ends(h: Harness, number: JobId, hours: float) -> None:
    """Its first task ends, having used so much in all."""
    attempt = h.gang(number).live[0]
    agent, ref = h.agent(attempt.node), attempt.record.ref
    agent.end(ref, 0)
    usage = TaskUsage(run_s=60.0, gpu_s=hours * HOUR_S, node_energy_mj=int(hours * MJ_PER_KWH))
    agent.tasks[ref].usage = usage
    agent.said.clear()
    agent.tell(agent.tasks[ref])
    h.settle()


def fill(h: Harness, hours: dict[str, float]) -> dict[str, JobId]:
    """Each of two users holds a node, and used so much; nothing else fits."""
    held = {user: h.submit(job().gpus(8), user=user) for user in hours}
    h.run(2)
    for user, number in held.items():
        uses(h, number, hours[user])
    h.run(2)
    return held


def queue(h: Harness) -> list[JobId]:
    return [waiting.job for waiting in h.cluster.state.work.waiting()]


def test_the_account_that_used_least_comes_first(h: Harness) -> None:
    fill(h, {"ada": 30.0, "bob": 10.0})
    ada, bob = h.submit(job().gpus(8), user="ada"), h.submit(job().gpus(8), user="bob")
    eve = h.submit(job().gpus(8), user="eve")
    assert queue(h) == [eve, bob, ada]


def test_priority_is_strict_whatever_was_used(h: Harness) -> None:
    fill(h, {"ada": 30.0, "bob": 10.0})
    bob = h.submit(job().gpus(8), user="bob")
    ada = h.submit(job().gpus(8).priority(51), user="ada")
    assert queue(h) == [ada, bob]


def test_with_equal_use_age_alone_counts(h: Harness) -> None:
    fill(h, {"ada": 20.0, "bob": 20.5})
    numbers = [h.submit(job().gpus(8), user=user) for user in ("bob", "ada", "bob", "ada")]
    assert queue(h) == numbers


def test_what_is_served_first_is_placed_first(h: Harness) -> None:
    held = fill(h, {"ada": 30.0, "bob": 10.0})
    ada, bob = h.submit(job().gpus(8), user="ada"), h.submit(job().gpus(8), user="bob")
    ends(h, held["bob"], 10.0)
    h.run(5)
    assert (h.state_of(ada), h.state_of(bob)) == ("PENDING", "RUNNING")


def test_an_account_of_its_own_pays_not_the_user(h: Harness) -> None:
    fill(h, {"ada": 30.0, "bob": 10.0})
    bob = h.submit(job().gpus(8), user="bob")
    other = h.submit(job().account("vision").gpus(8), user="ada")
    assert queue(h) == [other, bob]
    h.do(Update(only(other), {"account": "ada"}))
    assert queue(h) == [bob, other]


def test_shares_and_the_tree_of_the_site_file() -> None:
    accounts = (Account("big", shares=90), Account("ada", "big"), Account("bob", shares=10))
    h = started(built(*accounts))
    fill(h, {"ada": 60.0, "bob": 20.0})
    bob, ada = h.submit(job().gpus(8), user="bob"), h.submit(job().gpus(8), user="ada")
    assert queue(h) == [ada, bob], "60 of 80 is less than is due to big"


def test_what_was_used_is_forgotten_with_time() -> None:
    h = started(built(half_life_s=60.0))
    held = fill(h, {"ada": 30.0, "bob": 1.0})
    ends(h, held["ada"], 30.0)
    ends(h, held["bob"], 1.0)
    again = {user: h.submit(job().gpus(8), user=user) for user in ("ada", "bob")}
    h.run(660, BEAT_S)
    uses(h, again["bob"], 1.0)
    h.run(2)
    ada, bob = h.submit(job().gpus(8), user="ada"), h.submit(job().gpus(8), user="bob")
    assert queue(h) == [ada, bob]


@pytest.mark.parametrize("is_ended", [True, False])
def test_a_restart_keeps_what_was_used(h: Harness, is_ended: bool) -> None:
    held = fill(h, {"ada": 30.0, "bob": 10.0})
    if is_ended:
        ends(h, held["ada"], 30.0)
        ends(h, held["bob"], 10.0)
    before = account_views(h.cluster.state, h.now).accounts
    h.restart_scheduler()
    h.join()
    h.run(2)
    after = {a.name: a for a in account_views(h.cluster.state, h.now).accounts}
    for view in before:
        assert after[view.name].gpu_hours == pytest.approx(view.gpu_hours, rel=0.01)
        assert after[view.name].energy_kwh == pytest.approx(view.energy_kwh, rel=0.01)


def test_a_job_says_where_it_stands_and_why(h: Harness) -> None:
    fill(h, {"ada": 30.0, "bob": 10.0})
    h.submit(job().gpus(8).priority(90), user="ada")
    h.submit(job().gpus(8), user="bob")
    h.submit(job().gpus(8), user="ada")
    mine = h.submit(job().gpus(8), user="ada")
    place = explain_job(h.cluster.state, h.job(mine), h.now).place
    assert place is not None
    assert (place.place, place.queued) == (4, 4)
    assert (place.more_urgent, place.accounts_first, place.older) == (1, 1, 1)
    assert place.account == "ada"
    assert place.share == pytest.approx(0.5)
    assert place.used == pytest.approx(0.75, abs=0.01)


def test_a_job_that_is_not_submitted_says_where_it_would_stand(h: Harness) -> None:
    fill(h, {"ada": 30.0, "bob": 10.0})
    h.submit(job().gpus(8), user="ada")
    h.submit(job().gpus(8), user="bob")
    view = what_if(h.cluster.state, UserName("bob"), job().gpus(8).build(), {}, h.now)
    place = getattr(view, "place", None)
    assert place is not None
    assert (place.place, place.queued, place.older) == (2, 3, 1)


def test_the_view_of_accounts_is_in_the_order_of_service(h: Harness) -> None:
    fill(h, {"ada": 30.0, "bob": 10.0})
    h.submit(job().gpus(8), user="eve")
    views = account_views(h.cluster.state, h.now).accounts
    assert [v.name for v in views] == ["eve", "bob", "ada"]
    ada = views[2]
    assert (ada.gpus_running, ada.jobs_running, ada.jobs_queued) == (8.0, 1, 0)
    assert ada.gpu_hours == pytest.approx(30.0, rel=0.01)


def test_an_account_is_shown_right_before_its_parts_whatever_its_own_jobs_used() -> None:
    accounts = (Account("lab"), Account("nlp", "lab"), Account("vision", "lab"), Account("ops"))
    h = started(built(*accounts))
    fill(h, {"lab": 30.0, "ops": 10.0})
    names = [view.name for view in account_views(h.cluster.state, h.now).accounts]
    assert names.index("lab") == names.index("nlp") - 1 == names.index("vision") - 2
    assert names.index("ops") < names.index("lab")


def test_looking_at_accounts_changes_nobodys_share() -> None:
    """`lab` has no jobs of its own: its parts alone divide what is due to it."""
    h = started(built(Account("lab"), Account("nlp", "lab"), Account("vision", "lab")))
    h.submit(job().gpus(8).account("nlp"))
    h.run(2)
    before = h.cluster.state.work.queue.order.standings()
    shown = {view.name: view for view in account_views(h.cluster.state, h.now).accounts}
    assert shown["nlp"].share == before["nlp"].share == pytest.approx(0.5)
    assert h.cluster.state.work.queue.order.standings() == before


def test_an_account_is_shown_with_what_runs_and_waits_below_it() -> None:
    lab = Account("lab", quota=Quota(gpus=8))
    h = started(built(lab, Account("nlp", "lab"), Account("vision", "lab")))
    for name, gpus in (("lab", 2), ("nlp", 4), ("nlp", 1), ("vision", 8)):
        h.submit(job().gpus(gpus).account(name))
    h.settle()
    shown = account_views(h.cluster.state, h.now)
    (view,) = (one for one in shown.accounts if one.name == "lab")
    assert (view.gpus_running, view.jobs_running, view.jobs_queued) == (7.0, 3, 1)
    assert [quota.used for quota in shown.quotas] == [view.gpus_running]


def test_a_throttled_array_hides_nobody_behind_it(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many throttled jobs as a plan looks at stand before one of the same kind."""
    monkeypatch.setattr("wattline_scheduler.core.model.queue.queue.MAX_PLACEMENTS", 2)
    arrays = [h.submit(job().array(3, 1)) for _ in range(3)]
    h.run(3)
    assert [h.job(number).live_count for number in arrays] == [1, 1, 1]
    behind = h.submit(job())
    h.run(3)
    assert h.state_of(behind) == "RUNNING"


def test_a_user_that_is_new_needs_no_list(h: Harness) -> None:
    for number in range(20):
        answer = h.ask(
            Submit(job().gpus(8).build(), f"t{number}"), user=f"user-{number}", role="submitter"
        )
        assert answer is not None
    h.settle()
    assert len(account_views(h.cluster.state, h.now).accounts) >= 20


@pytest.mark.parametrize(("ada", "bob"), [(1.0, 1.0), (3.0, 1.0), (1.0, 4.0)])
def test_where_both_always_wait_each_gets_its_share(ada: float, bob: float) -> None:
    """Whoever came first, and however many jobs one of them has."""
    h = started(built(Account("ada", shares=ada), Account("bob", shares=bob)))
    waiting = {user: [h.submit(job().gpus(8), user=user) for _ in range(40)] for user in ("ada",)}
    waiting["bob"] = [h.submit(job().gpus(8), user="bob") for _ in range(40)]
    done = {"ada": 0, "bob": 0}
    for _ in range(20):
        for attempt in list(h.cluster.state.work.live.values()):
            done[attempt.gang.job.account] += 1
            ends(h, attempt.gang.job.id, 8.0)
            h.run(1)
    due = ada / (ada + bob) * sum(done.values())
    assert abs(done["ada"] - due) <= 3, done
