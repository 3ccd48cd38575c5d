"""What gateways learn of services besides their workers."""

from typing import Any

from msgspec.structs import replace

from support.core.harness import Harness, joined
from support.core.rolling import RollingHarness, rolling
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import TaskRef
from wattline_protocol.job.change import changed
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import BodyLogRule, CacheRule, ServiceSpec
from wattline_protocol.wire.client_messages import Update
from wattline_protocol.wire.rollouts import ReportTraffic, WorkerTraffic
from wattline_protocol.wire.service_settings import ServiceSettings
from wattline_scheduler.core.lifecycle.stand_ins import is_lost
from wattline_scheduler.core.model.jobs.job import Running, Starting
from wattline_scheduler.views.routes_view import MAX_OWNER_BYTES, routes_view


def started() -> Harness:
    return joined(site().rack("a", 4).gateway("tcp://127.0.0.1:7080").build())


def service(name: str, **settings: Any) -> JobBuilder:
    return job(name).gpus(1).service(1)._with(service=ServiceSpec(1, **settings))


def test_a_service_without_settings_has_none() -> None:
    h = started()
    h.submit(service("plain"))
    found = routes_view(h.cluster.state)
    assert (list(found.services), found.settings) == (["plain"], {})


def test_cache_and_fallback_reach_gateways_and_change_with_an_update() -> None:
    h = started()
    number = h.submit(service("big", cache=CacheRule(300.0, 1 << 20), fallback=("cache",)))
    settings = routes_view(h.cluster.state).settings
    assert settings == {"big": ServiceSettings(300.0, 1 << 20, ("cache",))}
    h.do(Update(only(number), {"cache": "ttl=1m,size=2MiB"}))
    settings = routes_view(h.cluster.state).settings
    assert settings == {"big": ServiceSettings(60.0, 2 << 20, ("cache",))}
    assert changed(service("big").build(), {"cache": "ttl=1m,size=2MiB"}).service == ServiceSpec(
        1, CacheRule(60.0, 2 << 20)
    )


def test_what_is_logged_of_bodies_reaches_gateways_and_ends_with_an_update() -> None:
    h = started()
    number = h.submit(service("big", log_bodies=BodyLogRule(0.5, ("card", "re:x+"), 3600.0)))
    settings = routes_view(h.cluster.state).settings
    assert settings == {"big": ServiceSettings(0, 0, (), 0.5, ("card", "re:x+"), 3600.0)}
    h.do(Update(only(number), {"log_bodies": "share=1,blank=email+phone"}))
    settings = routes_view(h.cluster.state).settings
    assert settings == {"big": ServiceSettings(0, 0, (), 1.0, ("email", "phone"), 2_592_000.0)}
    h.do(Update(only(number), {"log_bodies": "none"}))
    assert routes_view(h.cluster.state).settings == {}


def test_one_user_cannot_fill_the_message_to_the_gateways() -> None:
    h = started()
    long = "static:" + '"' + "x" * 4000 + '"'
    for number in range(20):
        h.submit(service(f"a{number:02}", fallback=(long,)), user="bob")
    h.submit(service("mine", fallback=("static:1",)))
    settings = routes_view(h.cluster.state).settings
    assert sum(len(its.fallback[0]) for its in settings.values()) <= MAX_OWNER_BYTES
    assert set(settings) == {*(f"a{number:02}" for number in range(15)), "mine"}


def test_a_service_of_another_user_is_no_fallback() -> None:
    h = started()
    h.submit(service("bobs"), user="bob")
    h.submit(service("mine"))
    h.submit(service("big", fallback=("bobs", "mine", "none-yet", "static:1")))
    fallback = routes_view(h.cluster.state).settings["big"].fallback
    assert fallback == ("mine", "none-yet", "static:1")


def routed(h: Harness) -> set[TaskRef]:
    """Attempts that gateways may send requests to, once each has the key of its worker."""
    for gang in h.cluster.state.work.gangs_in(Starting, Running):
        for attempt in gang.live:
            attempt.record = replace(attempt.record, worker_public_key="k" * 40)
    (workers,) = routes_view(h.cluster.state).services.values()
    return {worker.ref for worker in workers}


def report(h: RollingHarness, *ready: TaskRef) -> None:
    """A gateway reports these workers as ready."""
    workers = tuple(WorkerTraffic(ref, "ready") for ref in ready)
    h.ask(ReportTraffic((), workers), user="gw", role="gateway")


def test_a_replica_on_an_isolated_node_has_a_route_until_another_one_is_ready() -> None:
    h = rolling("gw", nodes=2)
    number = h.submit(job().gpus(1).service(1))
    h.reporting.clear()
    lost = h.gang(number).live[0].record.ref
    h.cut_off.add(h.gang(number).live[0].node)
    report(h, lost)
    h.run(20)
    assert is_lost(h.cluster.state, h.gang(number))
    stand_in = h.gang(number, 1).live[0].record.ref
    assert routed(h) == {lost, stand_in}, "it may serve: the fault may be the scheduler's network"
    report(h, lost, stand_in)
    assert routed(h) == {stand_in}
