"""`wattline services` and `wattline service NAME` at 80 columns."""

import io

import msgspec
import pytest
from rich.console import Console, RenderableType

from support.core.list_pages import asked_of, csv_of, page_of
from wattline.acts.serving.services import service
from wattline.failures import ActFailed
from wattline.show.serving import routes
from wattline.show.serving.services import LIST, WORKERS, detail
from wattline_protocol.ids import JobId
from wattline_protocol.views.service_views import (
    EnergyView,
    ReplicasView,
    RouteView,
    RuleView,
    ServiceView,
    SloView,
    WattsView,
    WorkerView,
)


def worker(task: int, state: str, **more: object) -> WorkerView:
    return WorkerView(f"7.{task}#1", f"n{task}", state, **more)  # type: ignore[arg-type]  # tests choose


WHY = "ValueError: no weights at /models/none"
VIEW = ServiceView(
    name="echo",
    owner="ada",
    revision=JobId(7),
    replicas=ReplicasView(2, 2, 2, 1),
    workers=(
        worker(0, "ready", in_flight=3, batch_s=0.0123),
        worker(1, "failed", reason=WHY),
    ),
    state="RUNNING",
    reason="",
    rollout="",
    next_revision=None,
)


def rows_of(thing: RenderableType) -> list[str]:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    with console.capture() as captured:
        console.print(thing, highlight=False, markup=False)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    return [line.rstrip() for line in lines]


def test_a_service_is_one_line_with_the_reason_of_a_failed_replica() -> None:
    header, row, *_ = rows_of(page_of(LIST, [VIEW]))
    assert header == "SERVICE  USER  READY  REQ/S  P95 MS  SLO MS  WATTS  NOTE"
    assert row.split()[:4] == ["echo", "ada", "1/2", "-"]
    assert "  7.1#1: ValueError: no w" in row
    assert row.endswith("…")


def test_services_and_workers_are_selected_by_what_they_show() -> None:
    heads, *rows = csv_of(LIST, [VIEW, ROUTE], where="in-flight>0", columns="service,revision")
    assert (heads, rows) == (["service", "revision"], [["echo", "7"]])
    workers = csv_of(WORKERS, VIEW.workers, where="state=failed", columns="worker,batch,reason")
    assert workers == [["worker", "batch_s", "reason"], ["7.1#1", "", WHY]]
    with pytest.raises(ActFailed, match="no column 'sate'; the nearest is state"):
        asked_of(WORKERS, where="sate=failed")


def test_a_rollout_in_progress_is_shown() -> None:
    rolling = msgspec.structs.replace(VIEW, rollout="checking", next_revision=JobId(9))
    _, row, *_ = rows_of(page_of(LIST, [rolling]))
    assert "checking, revision 9" in row
    assert "rollout    checking, revision 9 is to replace 7" in rows_of(detail(rolling))


def test_a_scaled_service_shows_its_range_the_reason_and_its_watts() -> None:
    why = "load 412/s needs 0.81 of what 2 replicas do, above 0.72"
    replicas = ReplicasView(2, 8, 3, 2, why)
    view = msgspec.structs.replace(VIEW, replicas=replicas, watts=WattsView(612.0, 700.0, 400.0))
    lines = rows_of(detail(view))
    assert f"replicas   2 to 8, now 3: {why[:30]}" in " ".join(lines)
    fixed = msgspec.structs.replace(VIEW, replicas=ReplicasView(2, 2, 2, 2, why))
    assert f"replicas   2: {why[:30]}" in " ".join(rows_of(detail(fixed)))
    assert "watts      612 W now, 700 W wanted, 400 W floor" in lines


def test_one_service_lists_its_workers() -> None:
    lines = rows_of(detail(VIEW))
    assert "ready      1 of 2" in lines
    at = next(at for at, line in enumerate(lines) if line.startswith("WORKER"))
    header, first, second = lines[at : at + 3]
    names = ["WORKER", "NODE", "STATE", "IN", "FLIGHT", "BATCH", "REASON"]
    assert header.split() == names
    assert first.split() == ["7.0#1", "n0", "ready", "3", "12.3", "ms"]
    assert second.split()[:5] == ["7.1#1", "n1", "failed", "0", "-"]
    assert WHY in second


def test_an_slo_is_shown_with_what_was_measured_and_how_fast_its_budget_burns() -> None:
    slo = SloView(
        200.0, 0.001, 2.5, 0.41, measured_p95_ms=128.0, measured_errors=0.0025, known_h=2.5
    )
    lines = rows_of(detail(msgspec.structs.replace(VIEW, slo=slo)))
    text = " ".join(" ".join(lines).split())
    assert "SLO p95 200 ms, errors 0.1 %; last hour: p95 128 ms, errors 0.25 %" in text
    assert "error budget burns 2.5 × in 1 h, 0.41 × in 6 h (2.5 h of 6 h known)" in text


def test_an_slo_without_history_says_so() -> None:
    lines = rows_of(detail(msgspec.structs.replace(VIEW, slo=SloView(200.0, 0.001, None, None))))
    text = " ".join(" ".join(lines).split())
    assert "error budget not known: no load of it is on record" in text


def test_a_site_without_services_says_so() -> None:
    assert rows_of(page_of(LIST, [])) == ["No services."]


ROUTE = RouteView("digits", "ada", ("small", "large"), ())
RULES = (
    RuleView(1, "tier gold", "large", 12),
    RuleView(0, "no rule matches", "small, below confidence 0.8 large", 1_234, 1_000, 200, 34),
)


def test_a_route_is_one_line_after_the_services() -> None:
    lost = RouteView("lost", "", ("gone",), (), "service gone does not exist")
    rows = rows_of(page_of(LIST, [VIEW, ROUTE, lost]))
    assert rows[1].split()[:2] == ["echo", "ada"]
    assert rows[2].split()[-4:] == ["route", "to", "small,", "large"]
    assert rows[3].split()[:3] == ["lost", "site", "file"]
    assert rows[3].endswith("service gone does not exist")


def test_one_route_lists_its_rules_with_their_counts() -> None:
    rows = rows_of(routes.detail(msgspec.structs.replace(ROUTE, rules=RULES)))
    assert rows[2].split() == ["services", "small,", "large"]
    text = "\n".join(rows)
    for part in ("tier gold", "rest", "1,234", "12"):
        assert part in text


class Routes:
    """A client of a site that has this route alone."""

    def service_or_route(self, name: str) -> RouteView:
        assert name == ROUTE.name
        return ROUTE


def test_a_route_has_no_workers() -> None:
    unused = dict.fromkeys(("since", "until", "key", "status", "limit"))
    with pytest.raises(ActFailed, match="digits is a route: its services have workers"):
        service(Routes(), name="digits", what="workers", as_json=False, **unused)  # type: ignore[arg-type]  # what it asks for alone


def test_energy_is_shown_by_requests_and_tokens_and_never_as_zero() -> None:
    assert "energy     not measured" in rows_of(detail(VIEW))
    workers = (worker(0, "ready", joules=1.2e6), worker(1, "ready"))
    energy = EnergyView(1234.0, 50_000.0, 12_300.0, 800, 0, 62_500.0, 77_875.0, None, 0.0043)
    lines = rows_of(detail(msgspec.structs.replace(VIEW, energy=energy, workers=workers)))
    assert "1,000 requests  62.5 kJ, 77.9 kJ with idle (800 requests in 20m34s)" in lines
    assert "1,000 tokens    -" in lines
    header, first, second = lines[-3:]
    assert header.split()[-2:] == ["ENERGY", "REASON"]
    assert (first.split()[-2:], second.split()[-1]) == (["1.2", "MJ"], "-")
    assert "energy cost     0.0043 USD for 1,000 requests" in lines
