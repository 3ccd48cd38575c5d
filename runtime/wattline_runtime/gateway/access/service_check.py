"""Refuses a request for a service that does not exist, where no core is asked."""

from wattline_runtime.gateway.access.key_ring import ApiKey
from wattline_runtime.gateway.errors import BadRequest
from wattline_runtime.gateway.request_queue import RequestQueue


def require_service(queue: RequestQueue, service: str, key: ApiKey | None) -> None:
    """Raises BadRequest unless the service is known, and no route; `key` None: an open gateway."""
    if queue.early is not None:
        text = "this gateway has not received its services yet"
        raise BadRequest("no_worker", text, retry_after_s=1)
    found = queue.services.get(service)
    if found is None or not found.is_listed:
        listed = {one.name for one in queue.services.values() if one.is_listed}
        names = ", ".join(sorted(listed if key is None else listed & key.services)) or "none"
        text = f"there is no service {service!r}; known services: {names}"
        if service in queue.public:
            what = "batches, streams of records and comparisons"
            text = f"{service!r} is a route: {what} name a service"
        raise BadRequest("unknown_service", text[:500])
