"""The priority class of a request: that of its header, bounded by its API key."""

from starlette.types import Scope

from wattline_runtime.gateway.access.key_ring import ApiKey
from wattline_runtime.gateway.client import header
from wattline_runtime.gateway.errors import BadRequest
from wattline_runtime.gateway.events import NORMAL, PRIORITIES

HEADER = b"wattline-priority"


def rank_of(scope: Scope, key: ApiKey | None) -> int:
    """0 is the most urgent; without a header `normal`, or what the key allows. An open gateway
    allows all. Raises BadRequest."""
    asked = header(scope, HEADER)
    if asked is None:
        rank = NORMAL
    elif asked in PRIORITIES:
        rank = PRIORITIES.index(asked)
    else:
        known = ", ".join(PRIORITIES)
        raise BadRequest("malformed", f"header wattline-priority is none of {known}")
    return rank if key is None else max(rank, key.rank)
