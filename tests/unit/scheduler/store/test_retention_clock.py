"""A run whose clock is years ahead deletes nothing for its age, and leaves nothing unfolded."""

from pathlib import Path

from fuzz.samples import ROUTES
from support.core import records
from support.store.stores import NOW, opened
from wattline_protocol.ids import DomainId, NodeId, UnixTime, UserName
from wattline_protocol.routing.file import parse_routes
from wattline_protocol.views.site_views import EventView
from wattline_scheduler.api_key_record import ApiKeyRecord
from wattline_scheduler.records import ActRecord, ProblemRecord
from wattline_scheduler.route_record import RouteRecord
from wattline_scheduler.service_rollup import ServiceRollup
from wattline_scheduler.store.rollups import DOMAIN_COARSE_STEP_S, DomainRollup, NodeRollup
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.tables import Storable

DAY_S = 86_400.0
AHEAD_S = 3_000 * DAY_S
ADA = UserName("ada")
AGED = (
    "acts",
    "api_keys",
    "domain_rollups",
    "limits",
    "node_rollups",
    "problems",
    "routes",
    "service_rollups",
)
"""Tables whose rows are deleted by age."""


def step(unix_s: float) -> DomainRollup:
    return DomainRollup(DomainId("site"), int(unix_s), 10.0, 1_000, 1, 1, 1, 1)


def one_of_each(unix_s: float) -> list[Storable]:
    """What was done or ended then, or is a step of then."""
    then = UnixTime(unix_s)
    key = ApiKeyRecord("key", "00", ADA, ("svc",), then, revoked_unix_s=then)
    [route] = parse_routes(ROUTES[0].decode(), "route.toml")
    return [
        ActRecord(EventView(1, then, "node_draining", "olga", "x")),
        key,
        step(unix_s),
        records.limit("event 7", is_over=True),
        NodeRollup(NodeId("a"), then, "beats", 10.0, 1, 1, 1, 1),
        ProblemRecord(1, "node_silent", "a", "warning", then, then, "x"),
        RouteRecord("digits", ADA, then, route, removed_unix_s=then),
        ServiceRollup("svc", ADA, int(unix_s), 60.0, 600.0),
    ]


def counts(store: Store) -> dict[str, int]:
    found = ((one, f"SELECT count(*) FROM {one}") for one in AGED)
    return {one: store._connection.execute(sql).fetchone()[0] for one, sql in found}


def test_nothing_is_deleted_before_that_clock_has_run_for_a_week(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit(one_of_each(NOW))
    store.tidy(NOW + AHEAD_S)
    assert counts(store) == dict.fromkeys(AGED, 1)
    store.commit([step(NOW + AHEAD_S)])
    store.tidy(NOW + AHEAD_S + 6 * DAY_S)
    assert counts(store) == dict.fromkeys(AGED, 1) | {"domain_rollups": 2}
    store.commit([step(NOW + AHEAD_S + 8 * DAY_S)])
    store.tidy(NOW + AHEAD_S + 16 * DAY_S)
    assert counts(store) == dict.fromkeys(AGED, 0) | {"domain_rollups": 2}, "it is no mistake"
    store.close()


def test_nothing_is_deleted_for_the_sake_of_such_a_run_later(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit(one_of_each(NOW))
    store.tidy(NOW + AHEAD_S)
    store.commit([step(NOW + AHEAD_S)])
    store.tidy(NOW + 20 * DAY_S)
    assert counts(store) == dict.fromkeys(AGED, 1) | {"domain_rollups": 2}
    store.close()


def test_domain_steps_after_such_a_run_are_folded_as_ever(tmp_path: Path) -> None:
    start = int(NOW) // DOMAIN_COARSE_STEP_S * DOMAIN_COARSE_STEP_S
    day, steps = int(DAY_S), range(0, DOMAIN_COARSE_STEP_S, 10)
    store = opened(tmp_path)
    store.commit([step(start + at) for at in steps])
    store.commit([step(start + AHEAD_S)])
    store.tidy(start + AHEAD_S + DAY_S)
    for number in (1, 2, 3):
        store.commit([step(start + number * day + at) for at in steps])
        store.tidy(start + (number + 1) * day + DOMAIN_COARSE_STEP_S)
    coarse = "SELECT start_unix_s FROM domain_rollups WHERE seconds = 900 ORDER BY start_unix_s"
    found = [at for (at,) in store._connection.execute(coarse)]
    assert found == [start + number * day for number in range(4)]
    store.close()
