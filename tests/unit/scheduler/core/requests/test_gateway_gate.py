"""Workers of services wait for a gateway: without one each try ends at once."""

import pytest

from support.core.harness import Harness, joined
from support.core.parts import explain_job
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.http_server import WORKER_MODULE, needs_gateway
from wattline_protocol.job.spec import HttpServer, JobSpec, ServiceSpec
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.model.events import MembersSeen
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests import access
from wattline_scheduler.records import MemberRecord

ADMIN = MemberRecord("admin", "admin", "A" * 40)
GATEWAY = MemberRecord("gw", "gateway", "G" * 40)
WORKER = ("python", "-m", WORKER_MODULE, "--model", "echo:Echo")
WAITS = (
    "no gateway is enrolled for its workers; it starts after `wattline enroll gw --role gateway`"
)


def started() -> Harness:
    return joined(site().gateway("tcp://gw:1", "gw").rack("a", 1).build())


def state_and_reason(h: Harness, number: JobId) -> tuple[str, str]:
    h.run(2)
    return h.state_of(number), reason_of(h.job(number), h.state_of(number))


def test_a_worker_starts_once_a_gateway_is_enrolled_and_again_only_while_one_is() -> None:
    h = started()
    h.handle(MembersSeen((ADMIN,)))
    number = h.submit(job().service(1).command(*WORKER))
    assert state_and_reason(h, number) == ("PENDING", WAITS)
    view = explain_job(h.cluster.state, h.job(number), h.now)
    assert (view.refusals[0].filter, view.start_why) == ("gateway", f"unknown: {WAITS}")
    h.handle(MembersSeen((ADMIN, GATEWAY)))
    assert state_and_reason(h, number) == ("RUNNING", "")
    h.handle(MembersSeen((ADMIN,)))
    assert state_and_reason(h, number) == ("RUNNING", ""), "it serves by what it knows"
    other = h.submit(job("other").service(1).command(*WORKER))
    assert state_and_reason(h, other) == ("PENDING", WAITS)


def test_it_waits_over_a_restart_and_other_services_and_members_do_not_matter() -> None:
    h = started()
    plain = h.submit(job("plain").service(1))
    number = h.submit(job().service(1).command(*WORKER).held())
    h.handle(MembersSeen((ADMIN, MemberRecord("else", "gateway", "E" * 40))))
    h.restart_scheduler()
    h.join()
    assert state_and_reason(h, plain) == ("RUNNING", "")
    assert h.job(number).barred == ("gateway", WAITS), "the site file names no such gateway"


def test_members_are_compared_once_for_all_services_that_are_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    h = started()
    h.handle(MembersSeen((ADMIN,)))
    numbers = [h.submit(job(f"s{n}").service(1).command(*WORKER)) for n in range(5)]
    plain, evaluated, barred = h.submit(job("plain").service(1)), list[str](), access.barred

    def counting(state: State, owner: UserName, spec: JobSpec) -> access.Bar:
        evaluated.append(spec.name)
        return barred(state, owner, spec)

    monkeypatch.setattr(access, "barred", counting)
    h.handle(MembersSeen((ADMIN, GATEWAY)))
    assert evaluated == ["s0", "plain"]
    assert [h.job(number).barred for number in (*numbers, plain)] == [None] * 6


def test_a_member_with_the_name_of_a_gateway_and_another_role_is_none() -> None:
    h = started()
    h.handle(MembersSeen((ADMIN, MemberRecord("gw", "submitter", "S" * 40))))
    number = h.submit(job().service(1).command(*WORKER))
    assert state_and_reason(h, number) == ("PENDING", WAITS)


def test_a_site_file_without_a_gateway_says_so() -> None:
    h = joined(site().rack("a", 1).build())
    h.handle(MembersSeen((ADMIN,)))
    number = h.submit(job().service(1).command(*WORKER))
    text = "the site file has no [[gateway]] for its workers"
    assert state_and_reason(h, number) == ("PENDING", text)


@pytest.mark.parametrize(
    ("spec", "needs"),
    [
        (job().service(1).command(*WORKER), True),
        (job().service(1).command(*WORKER, "--gateway=tcp://gw:1"), False),
        (job().service(1).command("serve"), False),
        (job().command(*WORKER), False),
    ],
)
def test_only_what_ends_at_once_without_one_waits(spec: JobBuilder, needs: bool) -> None:
    assert needs_gateway(spec.build()) is needs


def test_the_bridge_of_an_http_server_is_a_worker() -> None:
    service = ServiceSpec(1, http=HttpServer())
    assert needs_gateway(JobSpec("web", ("serve",), kind="service", service=service))
