"""A service or route as text, beside the list of its workers."""

from collections.abc import Sequence

from wattline_protocol.lists.service_figures import figures
from wattline_protocol.lists.service_table import OF_SITE, Named, in_flight, note
from wattline_protocol.text.wording import listed
from wattline_protocol.views.service_views import RouteView

SERVICES_SHOWN = 40
"""Those behind a route that are named."""


def service_text(one: Named, problems: Sequence[str]) -> str:
    """What `wattline service NAME` shows, but its workers; problems first."""
    if isinstance(one, RouteView):
        head = f"route · owner {one.owner or OF_SITE}"
        rest = [f"leads to {listed(one.services, SERVICES_SHOWN)}", *filter(None, [one.note])]
        return "\n".join([head, *rest])
    head = f"{one.state} · owner {one.owner} · revision {one.revision} · {in_flight(one)} in flight"
    faults = [*problems, *filter(None, [note(one)])]
    found = figures(one)
    wide = max((len(figure.label) for figure in found), default=0)
    lines = [f"{figure.label:<{wide}}  {figure.text}" for figure in found]
    return "\n".join([head, *(f"! {text}" for text in faults), *lines])
