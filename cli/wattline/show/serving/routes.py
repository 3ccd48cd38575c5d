"""A route with its rules."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.show.tables import Cell, Column, Listing, facts
from wattline_protocol.lists.service_table import OF_SITE
from wattline_protocol.text.wording import listed
from wattline_protocol.views.service_views import RouteView, RuleView


def detail(route: RouteView) -> RenderableType:
    """Everything about one route."""
    pairs: list[tuple[str, Cell]] = [
        ("route", route.name),
        ("owner", route.owner or OF_SITE),
        ("services", listed(route.services, len(route.services))),
    ]
    if route.note:
        pairs.append(("note", route.note))
    return Group(facts(pairs), Text(""), _rules(route.rules))


def _rules(rules: Sequence[RuleView]) -> Listing:
    return Listing(
        columns=(
            Column("RULE", [f"{r.rule}" if r.rule else "rest" for r in rules]),
            Column("WHEN", [r.when for r in rules], weight=1),
            Column("TO", [r.to for r in rules]),
            Column("REQUESTS", [f"{r.requests:,}" for r in rules], is_right=True),
            Column("KEPT", [f"{r.kept:,}" for r in rules], is_right=True, weight=2),
            Column("ESCALATED", [f"{r.escalated:,}" for r in rules], is_right=True, weight=2),
            Column("FAILED", [f"{r.failed:,}" for r in rules], is_right=True, weight=2),
        ),
        empty="No rules.",
    )
