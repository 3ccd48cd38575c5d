"""How many jobs may be open: of a user, in an account, in a queue; each refusal in its words."""

import msgspec
import pytest

from support.core.harness import Harness, end_one, joined
from support.core.parts import what_if
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import Selection, only
from wattline_protocol.site.model import Account, Queue, Quota
from wattline_protocol.wire.client_messages import Acted, Cancel, Denied, Requeue, Submit, Update
from wattline_scheduler.views.accounts_view import account_views

COUNTED = "each index of an array and each replica counts"
WAIT = "wait until some have ended, or cancel some"


def started(**words: object) -> Harness:
    return joined(msgspec.structs.replace(site().rack("a", 1).build(), **words))


def of_three(**words: object) -> Harness:
    return started(open_jobs_per_user=3, **words)


def denied(h: Harness, wanted: JobBuilder, user: str = "ada") -> Denied:
    answer = h.ask(Submit(wanted.build(), f"t{h.mono_s}"), user=user, role="submitter")
    assert isinstance(answer, Denied), answer
    return answer


def is_let_in(h: Harness, wanted: JobBuilder, user: str = "ada") -> JobId:
    return h.submit(wanted, user=user)


def test_a_user_at_the_limit_is_told_what_is_open_and_what_to_do_and_others_are_not() -> None:
    h = of_three()
    for _ in range(3):
        is_let_in(h, job())
    refusal = denied(h, job())
    assert refusal == Denied(
        "busy",
        "ada has 3 open jobs and requests 1 more, the maximum per user is 3 "
        f"(open_jobs_per_user); {COUNTED}; {WAIT}",
    )
    is_let_in(h, job(), user="bob")


def test_ended_indices_count_against_the_memory_that_they_take_while_their_array_is_open() -> None:
    """One open index of an array keeps all the others in memory."""
    h = started(open_jobs_per_user=8)
    arrays = []
    for count in (8, 7, 6, 5, 4):
        arrays.append(is_let_in(h, job().array(count).held()))
        h.do(Cancel(only(arrays[-1], *range(1, count))))
    counts = h.cluster.state.work.open_jobs
    assert (counts.of_user, counts.gangs_of_user) == ({"ada": 5}, {"ada": 30})
    refusal = denied(h, job().array(3))
    assert refusal == Denied(
        "busy",
        "the open jobs of ada have 30 indices and replicas, ended ones included, and 3 more are "
        "requested; the maximum per user is 32 (4 x open_jobs_per_user): wait until some of these "
        "jobs have ended as a whole, or cancel some",
    )
    is_let_in(h, job().array(2))
    h.do(Cancel(only(arrays[0])))
    assert counts.gangs_of_user == {"ada": 24}
    is_let_in(h, job().held())
    again = h.ask(Requeue(only(arrays[0], 0), "again"), user="ada", role="submitter")
    assert isinstance(again, Denied)
    assert "have 25 indices and replicas, ended ones included, and 8 more" in again.reason
    h.do(Cancel(Selection(users=("ada",))))
    assert not counts.gangs_of_user


def test_removed_replicas_count_against_memory_while_their_service_is_open() -> None:
    """Services that are scaled up and down in turn have few open replicas at any time."""
    h = started(open_jobs_per_user=20)
    services = [is_let_in(h, job(f"s{n}").gpus(8).service(1).held()) for n in range(10)]
    for number in services[:7]:
        for count in (11, 1):
            h.do(Update(only(number), {"replicas": str(count)}))
    counts = h.cluster.state.work.open_jobs
    assert (counts.of_user, counts.gangs_of_user) == ({"ada": 10}, {"ada": 80})
    answer = h.ask(Update(only(services[7]), {"replicas": "2"}), user="ada", role="submitter")
    assert isinstance(answer, Denied)
    assert "have 80 indices and replicas, ended ones included, and 1 more" in answer.reason
    h.do(Update(only(services[0]), {"replicas": "11"}))
    assert counts.gangs_of_user == {"ada": 80}, "its numbers were in memory"


def test_indices_and_replicas_count_until_each_has_ended() -> None:
    h = of_three()
    array = is_let_in(h, job().gpus(1).array(2))
    service = is_let_in(h, job().service(1))
    assert denied(h, job()).kind == "busy"
    end_one(h, array, 0)
    single = is_let_in(h, job())
    assert denied(h, job()).kind == "busy"
    h.do(Cancel(only(service)))
    h.do(Cancel(only(single)))
    is_let_in(h, job().array(2))


def test_what_is_too_much_by_itself_is_refused_for_good() -> None:
    h = of_three()
    refusal = denied(h, job().array(4))
    assert refusal == Denied(
        "impossible",
        "requests 4 open jobs, the maximum per user is 3 (open_jobs_per_user); "
        f"{COUNTED}; submit fewer at a time",
    )


def test_the_same_token_is_the_same_job_also_at_the_limit() -> None:
    h = started(open_jobs_per_user=1)
    request = Submit(job().build(), "again")
    first = h.ask(request, user="ada", role="submitter")
    assert h.ask(request, user="ada", role="submitter") == first


def test_what_if_says_what_a_submission_would() -> None:
    h = started(open_jobs_per_user=1)
    is_let_in(h, job())
    answer = what_if(h.cluster.state, UserName("ada"), job().build(), {}, h.now)
    assert answer == denied(h, job())


@pytest.mark.parametrize("restarts", [1, 3])
def test_counts_are_the_same_after_restarts(restarts: int) -> None:
    h = of_three()
    array = is_let_in(h, job().gpus(1).array(2))
    is_let_in(h, job())
    end_one(h, array, 0)
    for _ in range(restarts):
        h.restart_scheduler()
        h.join()
        h.run(3)
    is_let_in(h, job())
    assert denied(h, job()).kind == "busy"


def test_what_is_open_goes_on_below_a_stricter_site_file() -> None:
    h = of_three()
    numbers = [is_let_in(h, job().gpus(1)) for _ in range(3)]
    h.site = msgspec.structs.replace(h.site, open_jobs_per_user=1)
    h.restart_scheduler()
    h.join()
    h.run(3)
    assert {h.state_of(number) for number in numbers} == {"RUNNING"}
    assert denied(h, job()).reason.startswith("ada has 3 open jobs and requests 1 more")
    h.end_tasks()
    is_let_in(h, job())


def test_an_account_counts_what_is_below_it_and_says_whose_limit_it_is() -> None:
    lab = Account("lab", quota=Quota(open_jobs=2))
    h = started(accounts=(lab, Account("vision", "lab")))
    is_let_in(h, job().account("vision"), user="ada")
    is_let_in(h, job().account("lab"), user="bob")
    assert denied(h, job().account("vision")).reason == (
        "account lab has 2 open jobs and requests 1 more, the quota of account lab is "
        f"2; {COUNTED}; {WAIT}"
    )
    is_let_in(h, job())
    (shown,) = account_views(h.cluster.state, h.now).quotas
    assert (shown.what, shown.limit, shown.used, shown.left) == ("open_jobs", 2, 2, 0)


def test_a_job_moves_only_where_it_may_be_open() -> None:
    h = started(queues=(Queue("day"), Queue("night", Quota(open_jobs=2))))
    is_let_in(h, job().queue("night"))
    array = is_let_in(h, job().queue("day").array(2))
    refusal = h.ask(Update(only(array), {"queue": "night"}))
    assert isinstance(refusal, Denied)
    assert refusal.kind == "busy"
    assert refusal.reason.startswith("queue night has 1 open job and requests 2 more, ")
    end_one(h, array, 0)
    h.do(Update(only(array), {"queue": "night", "priority": 60}))
    assert denied(h, job().queue("night")).kind == "busy"
    h.do(Update(only(array), {"priority": 70}))
    h.do(Update(only(array), {"queue": "day"}))
    is_let_in(h, job().queue("night"))


def test_jobs_that_are_moved_together_fill_the_quota_and_no_more() -> None:
    h = started(queues=(Queue("day"), Queue("night", Quota(open_jobs=2))))
    numbers = [is_let_in(h, job().queue("day")) for _ in range(3)]
    reported = h.ask(Update(Selection(users=("ada",)), {"queue": "night"}))
    assert isinstance(reported, Acted)
    assert [(one.job, one.refused) for one in reported.jobs] == [
        (numbers[0], ""),
        (numbers[1], ""),
        (numbers[2], "busy"),
    ]


def test_what_has_ended_comes_back_only_where_it_may_be_open() -> None:
    h = started(open_jobs_per_user=2)
    array = is_let_in(h, job().gpus(1).array(2))
    end_one(h, array, 1)
    other = is_let_in(h, job())
    for which in (only(array, 0), only(array)):
        refusal = h.ask(Requeue(which, f"r{which}"), user="ada", role="submitter")
        assert isinstance(refusal, Denied)
        assert refusal.reason.startswith("ada has 2 open jobs and requests 1 more, ")
    h.do(Cancel(only(other)))
    h.do(Requeue(only(array, 0), "now"))
    assert denied(h, job()).kind == "busy"
    h.do(Requeue(only(array), "what runs is open already"))
