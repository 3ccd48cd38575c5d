"""Routes: who may declare one, to what, and what gateways and users see of it."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.routing.file import parse_routes
from wattline_protocol.routing.model import PublicRoute, RouteRule, RouteTarget, SiteRoute
from wattline_protocol.routing.requests import DeclareRoutes, RemoveRoute
from wattline_protocol.site.model import Role, Service
from wattline_protocol.wire.api_keys import AddApiKey
from wattline_protocol.wire.client_messages import Answer, Cancel, Denied, Done
from wattline_protocol.wire.rollouts import ReportTraffic, RouteTraffic
from wattline_scheduler.core.requests import routes as requests
from wattline_scheduler.views.route_views import public_routes, route_view
from wattline_scheduler.views.routes_view import routes_view

SMALL = PublicRoute("digits", (), RouteTarget(("small",)))


def started(*services: Service, routes: tuple[SiteRoute, ...] = ()) -> Harness:
    built = site().rack("a", 2).build()
    return joined(msgspec.structs.replace(built, services=services, routes=routes))


def service(h: Harness, name: str, user: str = "ada") -> JobId:
    return h.submit(job(name).gpus(1).service(1), user=user)


def declare(
    h: Harness, *routes: PublicRoute, user: str = "ada", role: Role = "submitter"
) -> Answer:
    return h.ask(DeclareRoutes(routes or (SMALL,)), user=user, role=role)


def reason(answer: Answer) -> str:
    assert isinstance(answer, Denied), answer
    return answer.reason


def led(h: Harness, name: str = "digits") -> tuple[str, ...]:
    """Services behind a route, as gateways know it."""
    return public_routes(h.cluster.state)[name].services


def test_a_route_is_on_record_replaced_by_its_owner_and_removed() -> None:
    h = started()
    service(h, "small")
    assert declare(h) == Done("route digits leads to small")
    assert declare(h) == Done("route digits leads to small")
    assert len(h.events("route_declared")) == 1
    h.restart_scheduler()
    assert led(h) == ("small",)
    assert routes_view(h.cluster.state).owners["digits"] == "ada"
    other = PublicRoute("digits", (), RouteTarget(("large",)))
    assert declare(h, other) == Done(
        "route digits leads to large (large does not exist yet: answered 503 until then)"
    )
    assert led(h) == ("large",)
    assert reason(h.ask(RemoveRoute("digits"), user="bob", role="submitter")) == (
        "route digits belongs to ada; you are bob"
    )
    assert h.ask(RemoveRoute("digits"), user="ada") == Done("route digits is removed")
    h.restart_scheduler()
    assert public_routes(h.cluster.state) == {}
    assert "there is no route 'digits'" in reason(h.ask(RemoveRoute("digits"), user="ada"))


def test_names_of_routes_and_services_are_one_set() -> None:
    h = started()
    service(h, "small")
    assert reason(declare(h, PublicRoute("small", (), RouteTarget(("large",))))) == (
        "small is a service of ada (job 1); a route has a name of its own"
    )
    declare(h)
    assert "belongs" not in str(declare(h))
    refused = h.refuse(job("digits").gpus(1).service(1), user="ada")
    assert "digits is the name of a route" in refused
    assert reason(declare(h, user="bob")) == (
        "the name digits is for ada; you are bob; choose another name"
    )
    over = PublicRoute("over", (), RouteTarget(("digits",)))
    assert reason(declare(h, over)) == (
        "route over: digits is a route, and a route leads to services"
    )
    two = (PublicRoute("a", (), RouteTarget(("b",))), PublicRoute("b", (), RouteTarget(("small",))))
    assert "b is a route" in reason(declare(h, *two))
    assert "same name" in reason(declare(h, SMALL, SMALL))


def test_a_route_leads_to_services_of_its_owner_only() -> None:
    h = started()
    number = service(h, "small", user="bob")
    assert reason(declare(h)) == "route digits: small belongs to another user"
    h.ask(Cancel(only(number)), user="bob")
    h.settle()
    assert isinstance(declare(h), Done)  # the name is free
    service(h, "small", user="bob")
    assert led(h) == ("no service: small",)
    view = route_view(h.cluster.state, "digits", with_rules=True)
    assert view is not None
    assert view.note == "small belongs to another user"
    operator = msgspec.structs.replace(SMALL, name="all")
    assert isinstance(declare(h, operator, user="olga", role="operator"), Done)
    assert led(h, "all") == ("small",)


def test_a_route_of_the_site_file_has_its_name_whatever_is_on_record() -> None:
    h = started()
    number = service(h, "large")
    declare(h, PublicRoute("digits", (), RouteTarget(("large",))))
    mine = SiteRoute(msgspec.structs.replace(SMALL, name="large"), ("bob",))
    theirs = SiteRoute(SMALL, ())
    h.site = msgspec.structs.replace(h.site, routes=(mine, theirs))
    h.restart_scheduler()
    state = h.cluster.state
    assert led(h) == ("small",)
    assert number in state.work.services.displaced
    assert "large" not in routes_view(state).services
    assert reason(h.ask(RemoveRoute("large"), user="ada")) == (
        "route large is of the site file: remove it there"
    )
    assert "is of the site file" in reason(declare(h))

    def key(name: str, route: str, user: str, role: Role = "submitter") -> Answer:
        digest = f"{len(state.api_keys.by_name):064x}"
        return h.ask(AddApiKey(name, digest, (route,), tier="gold"), user=user, role=role)

    assert isinstance(key("one", "large", "bob"), Done)
    assert reason(key("two", "large", "ada")) == "route large is for bob; you are ada"
    assert reason(key("three", "digits", "bob")) == "route digits is for operators; you are bob"
    assert isinstance(key("four", "digits", "olga", "operator"), Done)
    assert [(g.name, g.services, g.tier) for g in state.api_keys.grants(state.work.services)] == [
        ("one", ("large",), "gold"),
        ("four", ("digits",), "gold"),
    ]


def test_what_a_file_may_not_say_a_message_may_not_either() -> None:
    h = started()
    twice = PublicRoute(
        "digits", (RouteRule(RouteTarget(("a",)), min_inputs=2),) * 2, RouteTarget(("b",))
    )
    assert "no request can reach rule 2" in reason(declare(h, twice))
    odd = PublicRoute("digits", (), RouteTarget(("a", "b"), 0.0))
    assert "a cascade needs a limit above 0" in reason(declare(h, odd))
    assert "not a valid name" in reason(declare(h, PublicRoute("a/b", (), RouteTarget(("b",)))))
    value = RouteRule(RouteTarget(("a",)), fields={"x": ("nonsense",)})
    assert "is no JSON" in reason(declare(h, PublicRoute("r", (value,), RouteTarget(("b",)))))
    assert "requires the role submitter" in reason(declare(h, role="agent"))
    assert public_routes(h.cluster.state) == {}


def test_routes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_OF_USER", 2)
    monkeypatch.setattr(requests, "MAX_OF_SITE", 3)
    h = started()

    def named(name: str) -> PublicRoute:
        return PublicRoute(name, (), RouteTarget(("small",)))

    assert isinstance(declare(h, named("a"), named("b")), Done)
    assert "ada would have 3 routes" in reason(declare(h, named("c")))
    assert isinstance(declare(h, named("a")), Done)
    assert "the site would have 4 routes" in reason(declare(h, named("c"), named("d"), user="bob"))
    monkeypatch.setattr(requests, "MAX_BYTES_OF_USER", 10)
    assert "at most" in reason(declare(h, named("c"), user="bob"))


def test_counts_of_gateways_are_added_up_until_the_route_is_replaced() -> None:
    h = started()
    [route] = parse_routes(
        'kind = "route"\n[[route]]\nname = "digits"\nto = "small"\n[[route.rule]]\n'
        'cascade = ["small", "large"]\nlimit = 0.8\ntiers = ["gold"]',
        "r.toml",
    )
    declare(h, route)
    rows = (
        RouteTraffic("digits", 1, 10, 6, 3, 1),
        RouteTraffic("digits", 0, 5),
        RouteTraffic("digits", 7, 5),
        RouteTraffic("other", 0, 5),
    )
    for gateway in ("one", "two"):
        h.ask(ReportTraffic((), (), rows), user=UserName(gateway), role="gateway")
    view = route_view(h.cluster.state, "digits", with_rules=True)
    assert view is not None
    assert [msgspec.structs.astuple(rule) for rule in view.rules] == [
        (1, "tier gold", "small, below confidence 0.8 large", 20, 12, 6, 2),
        (0, "no rule matches", "small", 10, 0, 0, 0),
    ]
    assert len(h.cluster.state.routes.counts) == 2
    declare(h)
    assert h.cluster.state.routes.counts == {}
