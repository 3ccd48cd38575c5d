"""Queries about services."""

from wattline.client import Client
from wattline_protocol.views.service_views import ServiceView


def services(client: Client) -> tuple[ServiceView, ...]:
    """Open services."""
    return client.services()


def service(client: Client, *, name: str) -> ServiceView:
    """One service with its workers."""
    return client.service(name)
