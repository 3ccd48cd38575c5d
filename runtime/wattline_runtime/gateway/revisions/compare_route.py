"""`POST /v1/services/{service}/compare`: does the service's model consider two outputs equal?"""

import time

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.access.key_ring import ApiKey
from wattline_runtime.gateway.access.priority import rank_of
from wattline_runtime.gateway.access.service_check import require_service
from wattline_runtime.gateway.client import ClientDisconnected, read_body, timeout_ms
from wattline_runtime.gateway.config import GatewayConfig
from wattline_runtime.gateway.errors import CLIENT_GONE_STATUS, BadRequest
from wattline_runtime.gateway.events import Output, RequestKind
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.wire import COMPARE

PATH = "/v1/services/{service}/compare"


class TwoOutputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a request."""

    old: msgspec.Raw
    new: msgspec.Raw


class CompareRoute:
    """Its handler. A comparison is a request to the service: with a key, a deadline and a rate."""

    def __init__(self, shell: GatewayShell, config: GatewayConfig, access: Access) -> None:
        self._shell, self._config, self._access = shell, config, access

    @property
    def route(self) -> Route:
        """For the app of the gateway."""
        return Route(PATH, self._compare, methods=["POST"])

    async def _compare(self, request: Request) -> Response:
        """Raises BadRequest."""
        scope, start_s = request.scope, time.monotonic()
        service: str = request.path_params["service"]
        deadline_s = start_s + timeout_ms(scope, self._config) / 1000
        key = await self._access.require(scope, service, deadline_s)
        require_service(self._shell.gateway.queue, service, key)
        data, reason = b"", ""
        try:
            most_bytes = self._config.max_body_bytes
            data = await read_body(scope, request.receive, most_bytes, self._shell.bodies)
            pair = _pair(data)
            if key is not None:
                self._access.charge(key, 1)
            kind = RequestKind(COMPARE, rank=rank_of(scope, key))
            return JSONResponse({"equal": await self._ask(request, pair, deadline_s, key, kind)})
        except BadRequest as error:
            reason = error.reason
            raise
        except ClientDisconnected:
            reason = "client_gone"
            return Response(status_code=CLIENT_GONE_STATUS)
        finally:
            self._access.ended(scope, service, reason, data)

    async def _ask(
        self,
        request: Request,
        pair: bytes,
        deadline_s: float,
        key: ApiKey | None,
        kind: RequestKind,
    ) -> bool:
        shell, seen = self._shell, None if key is None else key.services
        number, waiter = shell.submit(request.path_params["service"], pair, deadline_s, seen, kind)
        watch = shell.watch(request.receive, [number])
        try:
            outcome = await waiter
        finally:
            watch.end()
            shell.abandon(number)
        if outcome is None:
            raise ClientDisconnected
        if isinstance(outcome, Output):
            return outcome.body == b"true"
        raise BadRequest(outcome.reason, outcome.message, outcome.retry_after_s)


def _pair(data: bytes) -> bytes:
    """The input of a comparison. Raises BadRequest."""
    try:
        both = msgspec.json.decode(data, type=TwoOutputs)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f'{error}; expected {{"old": OUTPUT, "new": OUTPUT}}'
        raise BadRequest("malformed", text) from error
    return b"[%b,%b]" % (bytes(both.old), bytes(both.new))
