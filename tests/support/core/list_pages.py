"""Lists as verbs show them, of given values."""

from typing import Any

from rich.console import RenderableType

from support.core.site_views import NOON
from wattline.lists.layout import header, page, record
from wattline.lists.list_of import ListOf
from wattline.lists.request import Asked, ListOptions, understood


def asked_of(of: ListOf[Any, Any], **options: Any) -> Asked[Any]:
    """The options as of `NOON`."""
    return understood(of, ListOptions(**options), NOON)


def page_of(of: ListOf[Any, Any], value: Any, **options: Any) -> RenderableType:
    """What is printed for the value."""
    asked = asked_of(of, **options)
    return page(of, asked, value, asked.rows(of.rows(value)))


def csv_of(of: ListOf[Any, Any], value: Any, **options: Any) -> list[list[str]]:
    """Header and records."""
    asked = asked_of(of, **options)
    return [header(asked), *(record(asked, row) for row in asked.rows(of.rows(value)))]
