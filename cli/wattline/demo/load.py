"""A client of the service: real images over HTTP, several at a time, every answer checked."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

REQUESTS = 600
CONNECTIONS = 6
REQUEST_TIMEOUT_S = 10.0
READY_POLL_S = 0.3


@dataclass(frozen=True, slots=True)
class Image:
    """64 pixels, 0 to 16, and the digit they show."""

    pixels: list[float]
    digit: int


@dataclass(slots=True)
class LoadResult:
    """Results of the requests."""

    latencies_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    right: int = 0
    wrong: int = 0

    @property
    def answered(self) -> int:
        """Requests with an answer of the model, right or wrong."""
        return self.right + self.wrong

    def percentile_ms(self, share: float) -> float:
        """The latency within which `share` of the answered requests were served."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def held_out_images() -> list[Image]:
    """The images that were held out from training."""
    from wattline_examples.digits_net import load_split

    _, _, pixels, digits = load_split()
    return [Image(p, d) for p, d in zip(pixels.tolist(), digits.tolist(), strict=True)]


class ServiceClient:
    """One keep-alive connection to the gateway."""

    def __init__(self, address: str, service: str, key: str) -> None:
        self._headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        self._connection = http.client.HTTPConnection(address, timeout=REQUEST_TIMEOUT_S)
        self._path = f"/v1/services/{service}/infer"

    def digit(self, image: Image) -> int:
        """The digit that the service recognizes. Raises OSError or ValueError with the answer."""
        try:
            body = json.dumps({"input": image.pixels})
            self._connection.request("POST", self._path, body, self._headers)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if response.status != http.HTTPStatus.OK:
            raise ValueError(f"HTTP {response.status}: {text[:200].decode(errors='replace')}")
        return int(json.loads(text)["output"]["digit"])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def wait_ready(
    address: str, service: str, key: str, image: Image, should_stop: Callable[[], bool]
) -> str | None:
    """Poll until the service answers; None when it does, otherwise its last answer."""
    client = ServiceClient(address, service, key)
    problem: str | None = "never asked"
    try:
        while problem is not None and not should_stop():
            problem = _problem(client, image)
            if problem is not None:
                time.sleep(READY_POLL_S)
    finally:
        client.close()
    return problem


def _problem(client: ServiceClient, image: Image) -> str | None:
    try:
        client.digit(image)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(error)
    return None


def run_load(
    address: str, service: str, key: str, images: Sequence[Image], requests: int = REQUESTS
) -> LoadResult:
    """Send `requests` requests over several connections; every one is counted."""
    result, lock = LoadResult(), threading.Lock()
    numbers = iter(range(requests))

    def one_user() -> None:
        client = ServiceClient(address, service, key)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            _ask(client, images[number % len(images)], result, lock)
        client.close()

    users = [threading.Thread(target=one_user, name=f"load-{n}") for n in range(CONNECTIONS)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    return result


def _ask(client: ServiceClient, image: Image, result: LoadResult, lock: threading.Lock) -> None:
    began_s = time.perf_counter()
    try:
        digit = client.digit(image)
    except (OSError, ValueError, http.client.HTTPException) as error:
        with lock:
            result.errors.append(str(error))
        return
    took_ms = (time.perf_counter() - began_s) * 1000
    with lock:
        result.latencies_ms.append(took_ms)
        if digit == image.digit:
            result.right += 1
        else:
            result.wrong += 1
