"""HTTP client for sensors and BMCs. Loaded only where one needs it: httpx is not small."""

import ssl
from pathlib import Path
from typing import Any

import httpx

from wattline_protocol.site.sensing import Access
from wattline_protocol.trust.keys import KeyFileError, read_secret
from wattline_scheduler.shell.sensing.sensor_values import MAX_ANSWER_BYTES, ReadingFailed, cut

HEADERS = {"accept": "application/json", "accept-encoding": "identity"}


class HttpClient:
    """The connection to one server: kept open between requests, certificates verified."""

    def __init__(self, access: Access, timeout_s: float) -> None:
        self._access = access
        self._timeout_s = timeout_s
        self._client: httpx.AsyncClient | None = None

    async def get(self, url: str, params: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body. Raises ReadingFailed where there is no answer."""
        return await self._ask("GET", url, params=params)

    async def post(self, url: str, document: dict[str, str]) -> tuple[int, bytes]:
        """Status and body. Raises ReadingFailed where there is no answer."""
        return await self._ask("POST", url, json=document)

    async def _ask(self, method: str, url: str, **content: Any) -> tuple[int, bytes]:
        client = self._client = self._client or self._connected()
        try:
            request = client.build_request(method, url, headers=self._headers(), **content)
            answer = await client.send(request, auth=self._basic(), stream=True)
            try:
                return answer.status_code, await _body(answer)
            finally:
                await answer.aclose()
        except httpx.TimeoutException as error:
            raise ReadingFailed(f"no answer within {self._timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ReadingFailed(cut(str(error) or type(error).__name__)) from error

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.aclose()

    def _connected(self) -> httpx.AsyncClient:
        try:
            trust = ssl.create_default_context(cafile=self._access.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise ReadingFailed(f"cannot use {self._access.ca_file}: {error}") from error
        return httpx.AsyncClient(
            verify=trust,
            timeout=self._timeout_s,
            limits=httpx.Limits(max_connections=1),
            # A meter is in the site's own network: proxies of the environment do not apply.
            trust_env=False,
        )

    def _secret(self) -> str:
        """Read each time, so that it can be changed under a running scheduler."""
        try:
            lines = read_secret(Path(self._access.secret_file)).splitlines()
        except KeyFileError as error:
            raise ReadingFailed(str(error)) from error
        if not lines or not lines[0].strip():
            raise ReadingFailed(
                f"{self._access.secret_file} is empty; its first line is the secret"
            )
        return lines[0].strip()

    def _headers(self) -> dict[str, str]:
        if not self._access.secret_file or self._access.user:
            return HEADERS
        return {**HEADERS, "authorization": f"Bearer {self._secret()}"}

    def _basic(self) -> httpx.BasicAuth | None:
        user = self._access.user
        return httpx.BasicAuth(user, self._secret()) if user else None


async def _body(answer: httpx.Response) -> bytes:
    data = b""
    async for part in answer.aiter_bytes():
        data += part
        if len(data) > MAX_ANSWER_BYTES:
            raise ReadingFailed(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
    return data
