"""A service name belongs to one user, or to those whom the site file lists."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.parts import what_if
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.site.model import Service
from wattline_protocol.wire.client_messages import Acted, Cancel, Denied, Hold, Requeue, Submit
from wattline_scheduler.core.admission import open_job_limits
from wattline_scheduler.core.invariants import InvariantBroken, check_invariants

SHARED = (Service("echo", ("ada", "bob")),)


def started(*services: Service) -> Harness:
    built = site().rack("a", 2).gateway("tcp://127.0.0.1:7080").build()
    return joined(msgspec.structs.replace(built, services=services))


def echo(name: str = "echo") -> JobBuilder:
    return job(name).gpus(1).service(1)


def routed(h: Harness, name: str = "echo") -> list[JobId]:
    return [one.id for one in h.cluster.state.work.services.routed().get(name, [])]


def cancel(h: Harness, number: JobId) -> None:
    h.do(Cancel(only(number)))
    h.run(2)
    assert h.state_of(number) == "CANCELLED"


def requeue(h: Harness, number: JobId, user: str) -> Acted | Denied:
    token = f"again-{len(h.effects)}"
    answer = h.ask(Requeue(only(number), token), user=user, role="submitter")
    assert isinstance(answer, Acted | Denied)
    return answer


TAKEN_KIND = "service_name_taken"
TAKEN = (
    "service name echo belongs to ada (job 1); choose another name (--name); users that share a "
    'name are listed in the site file ([[service]] name = "echo")'
)


def test_a_name_belongs_to_the_user_whose_open_job_took_it_first() -> None:
    h = started()
    first = h.submit(echo())
    assert h.refuse(echo(), user="bob") == TAKEN
    assert h.refuse(echo().account("ada"), user="bob") == TAKEN, "an account gives no right"
    view = what_if(h.cluster.state, UserName("bob"), echo().build(), {}, h.now, "submitter")
    assert view == Denied("conflict", TAKEN)
    more = h.submit(echo())
    assert routed(h) == [first, more], "a revision of its user replaces it"


def test_an_operator_does_not_take_it_either() -> None:
    h = started()
    h.submit(echo())
    answer = h.ask(Submit(echo().build(), "ops-token"), user="ops", role="operator")
    assert answer == Denied("conflict", TAKEN)


def test_other_kinds_of_jobs_and_other_names_are_free() -> None:
    h = started()
    h.submit(echo())
    for other in (job("echo"), echo("Echo"), echo("echo2")):
        h.submit(other, user="bob")
    assert routed(h) == [JobId(1)]


def test_a_job_that_waits_or_is_being_cancelled_has_its_name() -> None:
    h = started()
    number = h.submit(echo().held())
    assert h.refuse(echo(), user="bob") == TAKEN
    h.do(Requeue(only(h.submit(echo())), "x"))
    h.run(5)
    h.ask(Cancel(only(number)))
    h.ask(Cancel(only(JobId(2))))
    assert h.state_of(JobId(2)) != "CANCELLED", "it has its grace"
    assert "belongs to ada (job 2)" in h.refuse(echo(), user="bob")


def test_the_end_of_its_last_job_frees_a_name() -> None:
    h = started()
    first, second = h.submit(echo()), h.submit(echo())
    cancel(h, first)
    assert "belongs to ada (job 2)" in h.refuse(echo(), user="bob")
    cancel(h, second)
    assert routed(h) == []
    assert h.submit(echo(), user="bob") == JobId(3)
    assert routed(h) == [JobId(3)]


def test_what_ended_is_not_requeued_once_its_name_is_taken() -> None:
    h = started()
    first = h.submit(echo())
    cancel(h, first)
    taken = h.submit(echo(), user="bob")
    denied = requeue(h, first, "ada")
    assert isinstance(denied, Denied)
    assert denied.kind == "conflict"
    assert denied.reason.startswith("service name echo belongs to bob (job 2); ")
    cancel(h, taken)
    assert isinstance(requeue(h, first, "ada"), Acted)
    assert routed(h) == [first]
    assert isinstance(requeue(h, taken, "bob"), Denied)


def test_what_is_open_is_held_released_and_requeued_whoever_has_the_name() -> None:
    h = started()
    number = h.submit(echo())
    h.run(5)
    h.do(Hold(only(number)), user="ada", role="submitter")
    assert isinstance(requeue(h, number, "ada"), Acted)


# --- names that the site file lists -------------------------------------------------------------


def test_listed_users_share_a_name_and_nobody_else_has_it() -> None:
    h = started(*SHARED)
    first, second = h.submit(echo()), h.submit(echo(), user="bob")
    assert routed(h) == [first, second]
    assert h.refuse(echo(), user="eve") == (
        "service name echo is for ada, bob ([[service]]); you are eve; choose another name (--name)"
    )


def test_a_listed_name_is_kept_for_its_users_while_none_has_it() -> None:
    assert "is for ada, bob" in started(*SHARED).refuse(echo(), user="eve")


# --- what was accepted before -------------------------------------------------------------------


def with_two_owners() -> Harness:
    """A store in which two users have a service of one name, as before names had owners."""
    h = started(*SHARED)
    h.submit(echo())
    h.submit(echo(), user="bob")
    h.site = msgspec.structs.replace(h.site, services=())
    h.restart_scheduler()
    h.join()
    h.run(3)
    return h


def test_of_two_owners_on_record_the_first_gets_the_requests_and_the_other_is_told() -> None:
    h = with_two_owners()
    assert routed(h) == [JobId(1)]
    (event,) = h.events("service_name_taken")
    assert (event.level, event.job) == ("alarm", 2)
    assert event.text == (
        "job 2 of bob gets no requests: service name echo belongs to ada (job 1); "
        "submit it with another name"
    )
    assert h.refuse(echo(), user="bob") == TAKEN
    h.restart_scheduler()
    assert routed(h) == [JobId(1)], "it follows from the records"


def test_the_other_gets_them_once_the_first_has_ended() -> None:
    h = with_two_owners()
    assert [key for key in h.cluster.state.problems.open if key[0] == TAKEN_KIND] == [
        (TAKEN_KIND, "job 2")
    ]
    cancel(h, JobId(1))
    assert routed(h) == [JobId(2)]
    assert "belongs to bob (job 2)" in h.refuse(echo())
    h.tick()
    (ended,) = h.events("service_name_freed")
    assert ended.text == "job 2 gets requests again: it owns its name again"
    assert not h.cluster.state.problems.open


def test_a_displaced_job_is_one_problem_until_it_ends_whatever_restarts() -> None:
    h = with_two_owners()
    h.restart_scheduler()
    h.join()
    assert len(h.events(TAKEN_KIND)) == 1
    cancel(h, JobId(2))
    h.tick()
    (ended,) = h.events("service_name_freed")
    assert "job 2" in ended.text
    assert not h.cluster.state.problems.open


def test_one_whose_cause_went_while_no_scheduler_ran_ends_at_the_start() -> None:
    h = with_two_owners()
    h.site = msgspec.structs.replace(h.site, services=SHARED)
    h.restart_scheduler()
    assert h.events("service_name_freed")
    assert not h.cluster.state.problems.open


def test_whom_the_site_file_lists_no_more_gets_no_requests() -> None:
    h = started()
    h.submit(echo(), user="eve")
    h.site = msgspec.structs.replace(h.site, services=SHARED)
    h.restart_scheduler()
    assert routed(h) == []
    assert "is for ada, bob ([[service]])" in h.events("service_name_taken")[0].text


def test_a_restart_changes_no_owner_and_tells_nobody() -> None:
    h = started()
    h.submit(echo())
    h.restart_scheduler()
    assert h.refuse(echo(), user="bob") == TAKEN
    assert not h.events("service_name_taken")


def test_invariants_tell_of_a_name_with_two_owners() -> None:
    h = started()
    h.submit(echo())
    other = h.job(h.submit(echo("other"), user="bob"))
    services = h.cluster.state.work.services
    services.ended(other)
    spec = msgspec.structs.replace(other.spec, name="echo")
    other.record = msgspec.structs.replace(other.record, spec=spec)
    with pytest.raises(InvariantBroken, match=r"services .* are open, counted are"):
        check_invariants(h.cluster, h.now)
    services.opened(other)
    with pytest.raises(InvariantBroken, match="service name echo belongs to"):
        check_invariants(h.cluster, h.now)


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "é", "x" * 65])
def test_a_service_whose_name_is_no_segment_of_a_path_is_refused(name: str) -> None:
    assert started().refuse(echo(name)).count("is not a valid name") == 1


def test_open_services_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tick looks at each of them."""
    monkeypatch.setattr(open_job_limits, "MAX_SERVICES_OF_USER", 2)
    monkeypatch.setattr(open_job_limits, "MAX_SERVICES", 3)
    h = started()
    ada = [h.submit(echo(name)) for name in ("a", "b")]
    assert h.refuse(echo("c")).startswith("ada has 2 open services already, the maximum per user")
    assert h.refuse(echo("a")).startswith("ada has 2 open services"), "each revision counts"
    h.submit(job("c"))  # no service
    h.submit(echo("d"), user="bob")
    assert h.refuse(echo("e"), user="eve").startswith("the site has 3 open services already")
    cancel(h, ada[0])
    h.restart_scheduler()
    h.join()
    assert h.cluster.state.work.services.count_of == {"ada": 1, "bob": 1}
    h.submit(echo("e"))
    again = requeue(h, ada[0], "ada")
    assert isinstance(again, Denied)
    assert again.reason.startswith("ada has 2 open services")
