"""The columns of services and routes in the terminal: those of the list, with open problems."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from wattline_protocol.lists.service_table import Named, note, service_table
from wattline_protocol.lists.table import Table
from wattline_protocol.views.service_views import RouteView, ServiceView
from wattline_protocol.wire.problems import ProblemView


def services_of_terminal(
    now_unix_s: float, problems: Callable[[Named], Sequence[str]]
) -> Table[Named]:
    """The columns of the list; its note is the first open problem, if there is any."""
    table = service_table(now_unix_s)
    known = table.column("note")

    def first(one: Named) -> str:
        return next(iter(problems(one)), "") or note(one)

    def is_alarm(one: Named) -> bool:
        return bool(problems(one)) or (known.is_alarm is not None and known.is_alarm(one))

    noted = replace(known, value=first, is_alarm=is_alarm, is_moving=True)
    return replace(table, columns=tuple(noted if one is known else one for one in table.columns))


def problems_of(one: Named, problems: Iterable[ProblemView]) -> list[str]:
    """Open problems of its revisions."""
    if isinstance(one, RouteView):
        return []
    revisions = (one.revision, one.next_revision)
    return [each.evidence for each in problems if each.job is not None and each.job in revisions]


def all_ready(services: Iterable[ServiceView]) -> int:
    """Services with all replicas ready."""
    return sum(one.replicas.ready >= one.replicas.want for one in services)
