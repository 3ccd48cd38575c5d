"""Names of one kind that begin with a prefix, for shell completion."""

from collections.abc import Iterable, Iterator
from itertools import islice

from wattline_protocol.views.name_views import MAX_NAMES, ListNames, NamedView, Names
from wattline_protocol.views.site_views import ENDED_STATES
from wattline_scheduler.core.model.data.data_book import may_read
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker

DEFAULT_QUEUE = "default"
MAX_CHECKED = 10_000
"""The newest jobs: a prefix of numbers is not searched among all."""


def name_list(state: State, asker: Asker, request: ListNames) -> Names:
    """As many as a menu shows."""
    if request.kind in ("job", "open job"):
        return Names(tuple(islice(_jobs(state, request), MAX_NAMES)))
    found = (name for name in set(_names(state, asker, request)) if name.startswith(request.prefix))
    return Names(tuple(map(NamedView, sorted(found)[:MAX_NAMES])))


def _jobs(state: State, request: ListNames) -> Iterator[NamedView]:
    for number in islice(reversed(state.work.jobs), MAX_CHECKED):
        job = state.work.jobs[number]
        is_wanted = request.kind == "job" or job.record.state not in ENDED_STATES
        if is_wanted and str(number).startswith(request.prefix):
            yield NamedView(str(number), f"{job.spec.name} {job.record.state}")


def _names(state: State, asker: Asker, request: ListNames) -> Iterable[str]:
    match request.kind:
        case "node":
            return state.nodes
        case "domain":
            return state.domains.by_id
        case "service":
            return [*state.work.services.open(), *state.work.services.routes]
        case "queue":
            return [DEFAULT_QUEUE, *(queue.name for queue in state.site.queues)]
        case "account":
            return [*state.work.queue.order.standings(), *state.ledger.names("account")]
        case "data set":
            sets = state.data.sets.values()
            operator = asker.is_operator
            return [one.name for one in sets if may_read(one, asker.user, is_operator=operator)]
        case "reservation":
            return state.reservations
        case "job" | "open job":
            return ()  # these have notes: `_jobs`
