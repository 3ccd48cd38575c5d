"""Batches of a gateway over HTTP, for `wattline infer`. Standard library only."""

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO, NoReturn
from urllib.parse import quote, urlsplit

import msgspec

from wattline.client.errors import BadRequest, NotAllowed, NotFound, Unreachable, WattlineError
from wattline_protocol.wire.bounds import Count

TIMEOUT_S = 30.0
CHUNK_BYTES = 256 * 1024
MAX_ANSWER_BYTES = 1024 * 1024
MAX_ERROR_CHARS = 1_000
MAX_LINE_BYTES = 16 * 1024 * 1024
"""A result is shorter."""


class Counts(msgspec.Struct, frozen=True):
    """Rows of a batch."""

    total: Count[int]
    completed: Count[int]
    failed: Count[int]


class BatchView(msgspec.Struct, frozen=True):
    """A batch, as a gateway shows it."""

    id: str
    service: str
    status: str
    request_counts: Counts
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.status in ("in_progress", "cancelling")


class GatewayHttp:
    """A gateway at a URL, with an API key."""

    def __init__(self, url: str, key: str) -> None:
        """Raises BadRequest for what is no URL of a gateway."""
        try:
            parts = urlsplit(url)
            is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # of the port, or of an IPv6 address
            is_url = False
        if not is_url or parts.path.strip("/"):
            raise BadRequest(f"{url} is no URL of a gateway; expected http://HOST:PORT")
        if not key.isprintable() or not key.isascii():
            raise BadRequest("the API key has characters that no key has")
        self.url = url
        self._parts = parts
        self.headers = {"api-key": key} if key else {}

    def create(self, service: str, rows: BinaryIO) -> BatchView:
        """Send the rows of a new batch. Nothing of it is kept unless this returns."""
        self._ask("GET", "/v1/batches?limit=1")  # refused before the rows are sent
        return self._view("POST", f"/v1/batches?service={quote(service, safe='')}", rows)

    def batch(self, batch_id: str) -> BatchView:
        """A batch by its ID."""
        return self._view("GET", _path(batch_id))

    def cancel(self, batch_id: str) -> BatchView:
        """Cancel a batch."""
        return self._view("POST", _path(batch_id) + "/cancel")

    def results(self, batch_id: str, after: int) -> Iterator[bytes]:
        """Whole lines of results behind a row, as they come, until the batch ends, the gateway
        stops, or nothing has come for a while."""
        connection = self.connection()
        with closing(connection):
            path = f"{_path(batch_id)}/results?after={after}&follow=true"
            try:
                connection.request("GET", path, headers=self.headers)
                response = connection.getresponse()
                if response.status != 200:
                    self.refuse(response.status, response.read(MAX_ANSWER_BYTES))
                rest = b""
                while data := response.read1(CHUNK_BYTES):
                    whole, line_break, rest = (rest + data).rpartition(b"\n")
                    if len(rest) > MAX_LINE_BYTES:
                        raise WattlineError(f"{self.url} sent a line that is no result")
                    if line_break:
                        yield whole + line_break
            except TimeoutError:
                return
            except (OSError, http.client.HTTPException) as error:
                raise self.unreachable(error) from error

    def _view(self, method: str, path: str, body: BinaryIO | None = None) -> BatchView:
        answer = self._ask(method, path, body)
        try:
            return msgspec.json.decode(answer, type=BatchView)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = f"{self.url} answered something else than a batch; is it a gateway?"
            raise WattlineError(text) from error

    def connection(self) -> http.client.HTTPConnection:
        """A new connection, which connects with its first request."""
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, port, TIMEOUT_S, blocksize=CHUNK_BYTES)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(
            host, port, timeout=TIMEOUT_S, context=context, blocksize=CHUNK_BYTES
        )

    def _ask(self, method: str, path: str, body: BinaryIO | None = None) -> bytes:
        connection = self.connection()
        with closing(connection):
            try:
                try:
                    connection.request(method, path, body, self.headers)
                except (BrokenPipeError, ConnectionResetError):
                    if body is None:
                        raise  # else the refusal may have come before the rows were sent
                response = connection.getresponse()
                if response.status >= 300:
                    self.refuse(response.status, response.read(MAX_ANSWER_BYTES))
                return response.read(MAX_ANSWER_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise self.unreachable(error) from error

    def unreachable(self, error: Exception) -> Unreachable:
        """The error of a gateway that does not answer."""
        why = (isinstance(error, OSError) and error.strerror) or str(error) or repr(error)
        return Unreachable(f"the gateway at {self.url} does not answer: {why}")

    def refusal(self, status: int, data: bytes) -> str:
        """What a gateway says of a request that it refuses."""
        try:
            error = json.loads(data)["error"]
            return f"{error['message']} ({error['reason']})"[:MAX_ERROR_CHARS]
        except (ValueError, TypeError, KeyError, RecursionError):
            return f"{self.url} answered {status}; is it a gateway?"

    def refuse(self, status: int, data: bytes) -> NoReturn:
        """Raise the error of a refusal."""
        text = self.refusal(status, data)
        kind = {400: BadRequest, 401: NotAllowed, 403: NotAllowed, 404: NotFound}
        if status in (502, 503, 504):
            raise Unreachable(text)
        raise kind.get(status, WattlineError)(text)


def _path(batch_id: str) -> str:
    return f"/v1/batches/{quote(batch_id, safe='')}"
