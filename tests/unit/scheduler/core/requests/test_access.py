"""Queues and accounts of a site file that has changed: what waits there starts in no other way."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.parts import explain_job, what_if
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.change import ChangeValue
from wattline_protocol.job.selection import only
from wattline_protocol.site.model import Account, FairShare, Queue, Quota, Role
from wattline_protocol.views.site_views import ExplainView
from wattline_protocol.wire.client_messages import Acted, Answer, Denied, Release, Requeue, Update
from wattline_scheduler.core.lifecycle.job_state import reason_of


def started(**words: object) -> Harness:
    return joined(msgspec.structs.replace(site().rack("a", 2).build(), **words))


def with_site(h: Harness, **changes: object) -> None:
    """The scheduler is started again with another site file."""
    h.site = msgspec.structs.replace(h.site, **changes)
    h.restart_scheduler()
    h.join()
    h.run(3)


def by_owner(h: Harness, number: JobId, **changes: ChangeValue) -> Answer:
    return h.ask(Update(only(number), changes), user="ada", role="submitter")


def reason(h: Harness, number: JobId) -> str:
    h.run(2)
    return reason_of(h.job(number), h.state_of(number))


def test_what_waits_in_a_queue_that_left_the_site_file_starts_in_no_other_unasked() -> None:
    h = started(queues=(Queue("night", Quota(gpus=4)), Queue("day")))
    runs, waits = h.submit(job().queue("night").gpus(4)), h.submit(job().queue("night").gpus(4))
    with_site(h, queues=(Queue("day"),))
    assert h.state_of(runs) == "RUNNING"
    said = "the site file no longer has queue night; set another one with `wattline update --queue`"
    assert reason(h, waits) == said
    view = explain_job(h.cluster.state, h.job(waits), h.now)
    assert (view.refusals[0].filter, view.start_why) == ("queue", f"unknown: {said}")
    assert not view.remedies
    h.do(Update(only(waits), {"queue": "day"}))
    h.run(2)
    assert h.state_of(waits) == "RUNNING"


def test_what_is_paid_by_an_account_that_was_renamed_waits_for_its_new_name() -> None:
    h = started(accounts=(Account("lab"), Account("nlp", "lab", quota=Quota(gpus=4))))
    waits, own = h.submit(job().account("nlp").held()), h.submit(job().held())
    with_site(h, accounts=(Account("lab"), Account("lang", "lab", quota=Quota(gpus=4))))
    for number in (waits, own):
        h.do(Release(only(number)))
    said = (
        "the site file no longer has account nlp; set another one with `wattline update --account`"
    )
    assert reason(h, waits) == said
    assert h.state_of(own) == "RUNNING", "a user's own account needs no name"
    h.do(Update(only(waits), {"account": "lang"}))
    h.run(2)
    assert h.state_of(waits) == "RUNNING"


@pytest.mark.parametrize("what", ["queue", "account"])
def test_what_its_user_may_not_use_any_more_starts_nothing_of_theirs(what: str) -> None:
    h = started(accounts=(Account("lab"),), queues=(Queue("night"),))
    waits = h.submit(job().queue("night").account("lab").held())
    ours = {"queue": "queues", "account": "accounts"}[what]
    kind, name = (Queue, "night") if what == "queue" else (Account, "lab")
    with_site(h, **{ours: (kind(name, users=("bob", "cyd")),)})
    h.do(Release(only(waits)))
    assert reason(h, waits) == (
        f"{what} {name} is for bob, cyd, not for ada; "
        f"set another one with `wattline update --{what}`"
    )
    with_site(h, **{ours: (kind(name, users=("ada",)),)})
    assert h.state_of(waits) == "RUNNING"


def test_a_job_without_a_goal_has_that_of_its_queue_where_it_may() -> None:
    h = started(queues=(Queue("green", goal="efficiency"), Queue("plain")))

    def goal(wanted: JobBuilder) -> str:
        return h.job(h.submit(wanted)).spec.power.goal

    assert goal(job().queue("green")) == "efficiency"
    assert goal(job().queue("green").goal("throughput")) == "throughput"
    assert goal(job().queue("green").min_performance(1.0)) == ""
    assert goal(job("s").queue("green").service(1)) == ""
    number = h.submit(job().queue("plain"))
    assert isinstance(by_owner(h, number, queue="green"), Acted)
    assert h.job(number).spec.power.goal == "efficiency"
    assert isinstance(by_owner(h, number, goal="throughput"), Acted)
    assert isinstance(by_owner(h, number, goal="none"), Acted)
    assert h.job(number).spec.power.goal == "efficiency"


# --- how long a job may run -----------------------------------------------------------------


def short() -> Harness:
    return started(queues=(Queue("short", max_runtime_s=3_600.0), Queue("long")))


def test_who_names_no_run_time_has_that_of_the_queue() -> None:
    h = short()
    number = h.submit(job().queue("short"))
    assert h.job(number).spec.limits.runtime_s == 3_600.0
    assert h.job(h.submit(job().queue("short").runtime(60))).spec.limits.runtime_s == 60.0
    assert h.job(h.submit(job().queue("long"))).spec.limits.runtime_s == 0.0
    view = what_if(h.cluster.state, UserName("ada"), job().queue("short").build(), {}, h.now)
    assert isinstance(view, ExplainView)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (job().runtime(7_200), ", this job has 2h (--time); an operator can extend it"),
        (job().service(1), "; a service runs until it is cancelled"),
    ],
)
def test_longer_than_its_queue_lets_jobs_run_is_refused(wanted: JobBuilder, said: str) -> None:
    reported = short().refuse(wanted.queue("short"))
    assert reported == f"the maximum run time in queue short is 1h{said}"


def test_its_user_may_not_let_it_run_longer_and_an_operator_may() -> None:
    h = short()
    number = h.submit(job().queue("short").runtime(60))
    assert isinstance(by_owner(h, number, time="2h"), Denied)
    assert isinstance(by_owner(h, number, time="none"), Acted)
    assert h.job(number).spec.limits.runtime_s == 3_600.0
    h.do(Update(only(number), {"time": "2h"}))
    assert isinstance(by_owner(h, number, retries=1), Acted), "which is about something else"
    h.do(Update(only(number), {"time": "none"}))
    assert h.job(number).spec.limits.runtime_s == 0.0


def test_who_moves_to_such_a_queue_gets_its_run_time() -> None:
    h = short()
    number = h.submit(job().queue("long"))
    assert isinstance(by_owner(h, number, queue="short"), Acted)
    assert h.job(number).spec.limits.runtime_s == 3_600.0
    longer = h.submit(job().queue("long").runtime(9_000))
    assert isinstance(by_owner(h, longer, queue="short"), Denied)


# --- whose account --------------------------------------------------------------------------


def test_where_nobody_has_an_account_of_their_own_jobs_name_one() -> None:
    accounts, rules = (Account("lab"), Account("bob")), FairShare(own_accounts=False)
    h = started(accounts=accounts, fair_share=rules)
    said = "jobs must name an account (--account); there are lab, bob"
    assert h.refuse(job()) == said
    assert h.refuse(job().account("ada")).startswith("there is no account ada")
    for wanted, user in ((job().account("lab"), "ada"), (job(), "bob")):
        assert h.state_of(h.submit(wanted, user=user)) == "RUNNING"


def test_where_own_accounts_end_what_waits_in_one_is_moved() -> None:
    h = started(accounts=(Account("lab"),))
    waits = h.submit(job().held())
    with_site(h, fair_share=FairShare(own_accounts=False))
    h.do(Release(only(waits)))
    assert reason(h, waits).startswith("the site file no longer has account ada; set another one")
    h.do(Update(only(waits), {"account": "lab"}))
    h.run(2)
    assert h.state_of(waits) == "RUNNING"


# --- how urgent a job may be ----------------------------------------------------------------


def capped() -> Harness:
    accounts = (Account("lab", max_priority=60), Account("vision", "lab", max_priority=80))
    return started(
        accounts=accounts,
        queues=(Queue("default", max_priority=75), Queue("urgent", max_priority=100)),
    )


@pytest.mark.parametrize(
    ("wanted", "limit"),
    [
        (
            job().priority(76),
            "priority 76 exceeds the maximum of queue default (75, high); an operator can",
        ),
        (
            job().account("vision").priority(61),
            "priority 61 exceeds the maximum of account lab (60); an operator can raise it",
        ),
    ],
)
def test_more_urgent_than_its_queue_or_account_lets_in_is_refused(
    wanted: JobBuilder, limit: str
) -> None:
    assert capped().refuse(wanted).startswith(limit)


def test_up_to_the_limit_and_elsewhere_nothing_is_refused() -> None:
    h = capped()
    for wanted in (job().priority(75), job().queue("urgent").priority(100)):
        assert h.state_of(h.submit(wanted)) == "RUNNING"


def test_its_user_raises_a_job_up_to_the_limit_and_an_operator_above_it() -> None:
    h = capped()
    number = h.submit(job().priority(50).held())
    denied = by_owner(h, number, priority="critical")
    assert isinstance(denied, Denied)
    assert denied.kind == "not_allowed"
    assert denied.reason.endswith(
        "(75, high); an operator can raise it (wattline update --priority)"
    )
    assert isinstance(by_owner(h, number, priority="high"), Acted)
    h.do(Update(only(number), {"priority": "critical"}))
    assert h.job(number).spec.priority == 100
    assert isinstance(by_owner(h, number, retries=2), Acted), "which is about something else"
    assert isinstance(by_owner(h, number, priority=90), Acted), "which is lower"
    assert isinstance(by_owner(h, number, account="vision"), Denied)


# --- where neither names a maximum ------------------------------------------------------------

FOR_SUBMITTERS = (
    "priority 90 exceeds the maximum for submitters (75, high); an operator can raise it "
    "(wattline update --priority)"
)


def test_a_submitter_may_ask_for_high_where_no_maximum_is_named() -> None:
    h = started(queues=(Queue("day"),), accounts=(Account("lab"),))
    for wanted in (job(), job().queue("day"), job().account("lab")):
        assert h.refuse(wanted.priority(90)) == FOR_SUBMITTERS
        assert h.state_of(h.submit(wanted.priority(75), role="submitter")) == "RUNNING"


def test_an_operator_may_ask_for_any_priority_where_no_maximum_is_named() -> None:
    h = started()
    roles: tuple[Role, ...] = ("operator", "admin")
    for role in roles:
        assert h.job(h.submit(job().priority(100), role=role)).spec.priority == 100


def test_a_queue_or_account_raises_the_maximum_of_submitters() -> None:
    h = started(
        queues=(Queue("urgent", max_priority=95), Queue("day")),
        accounts=(Account("lab", max_priority=90), Account("nlp", "lab")),
    )
    assert "of queue urgent (95)" in h.refuse(job().queue("urgent").priority(96))
    for wanted in (job().queue("urgent").priority(95), job().account("nlp").priority(90)):
        h.submit(wanted, role="submitter")
    both = job().queue("urgent").account("nlp")
    assert "of account lab (90)" in h.refuse(both.priority(91))


def test_what_if_says_what_a_submission_of_the_same_role_would() -> None:
    h = started()
    wanted = job().priority(90).build()
    ada, state = UserName("ada"), h.cluster.state
    assert what_if(state, ada, wanted, {}, h.now, "submitter") == Denied(
        "not_allowed", FOR_SUBMITTERS
    )
    assert isinstance(what_if(state, ada, wanted, {}, h.now, "operator"), ExplainView)


def test_jobs_that_were_accepted_with_more_keep_it_and_are_raised_no_further() -> None:
    h = started()
    number = h.submit(job().gpus(4).priority(90))
    with_site(h)
    h.do(Requeue(only(number), "again"), user="ada", role="submitter")
    h.run(5)
    assert (h.job(number).spec.priority, h.state_of(number)) == (90, "RUNNING")
    assert isinstance(by_owner(h, number, retries=2), Acted), "which is about something else"
    denied = by_owner(h, number, priority=91)
    assert isinstance(denied, Denied)
    assert "exceeds the maximum for submitters (75, high)" in denied.reason
    assert isinstance(by_owner(h, number, priority=80), Acted), "which is lower"
    assert isinstance(by_owner(h, number, priority=90), Denied)


def test_a_high_priority_is_not_carried_out_of_the_queue_that_allows_it() -> None:
    h = started(queues=(Queue("urgent", max_priority=100), Queue("day")))
    number = h.submit(job().queue("urgent").priority(100).held(), role="submitter")
    assert isinstance(by_owner(h, number, queue="day"), Denied)
    assert isinstance(by_owner(h, number, queue="day", priority=75), Acted)
