"""A site with gateways and a service, and clients that request answers at a steady rate."""

import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from support.programs.cli_site import CliSite
from support.programs.ports import free_ports
from wattline_bench.rig.open_loop import OpenLoop
from wattline_protocol.site.file import parse_site

ECHO = ("-m", "wattline_runtime.serve", "--model", "wattline_examples.serve_echo:Echo")
SECOND = """
[[gateway]]
name = "{name}"
worker_endpoint = "tcp://127.0.0.1:{port}"
http_address = "127.0.0.1:{http_port}"
"""


Listening = tuple[tuple[str, ...], tuple[int, ...]]
"""What is put before a command, and the descriptors that it needs."""


def by_systemd(listener: socket.socket) -> Listening:
    """Start a program as systemd would that listens for it (sd_listen_fds(3))."""
    script = f'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3<&{listener.fileno()}'
    return ("bash", "-c", script, "systemd"), (listener.fileno(),)


def opened(site_file: str) -> str:
    """The site file with gateways that need no API keys."""
    return re.sub(r"(?m)^\[\[gateway\]\]$", "[[gateway]]\nopen = true", site_file)


class ServingSite(CliSite):
    """A site whose gateways are started by name: "gateway", as `init` writes it, and more."""

    def __init__(
        self,
        folder: Path,
        nodes: tuple[str, ...] = ("n1",),
        more_gateways: tuple[str, ...] = (),
        *,
        is_open: bool = True,
        edit: Callable[[str], str] = lambda site_file: site_file,
    ) -> None:
        """`is_open`: requests need no API keys. `edit` changes the site file first."""

        def edited(text: str) -> str:
            text = edit(text)
            for name in more_gateways:
                port = free_ports(2)
                text += SECOND.format(name=name, port=port, http_port=port + 1)
            return opened(text) if is_open else text

        super().__init__(folder, nodes, edit=edited)

    def start_gateway(
        self,
        name: str = "gateway",
        *flags: str,
        program: str = "",
        within: Listening | None = None,
    ) -> int:
        """Enroll it unless it is, and run it, as `program` if given; its process id."""
        if not self.bundle(name).exists():
            self.wattline("enroll", name, "--role", "gateway", "--site", str(self.site))
            # Workers connect to the gateways that the scheduler knows when they start.
            self.until(lambda: self._is_known(name), f"gateway {name} on record")
        where = ("--bundle", str(self.bundle(name)), "--site", str(self.site))
        command, fds = within or ((), ())
        name = program or name
        return self.start(name, "gateway", *where, *flags, within=command, pass_fds=fds)

    def _is_known(self, name: str) -> bool:
        events = self.client.site().events
        return any(one.kind == "member_enrolled" and one.text.startswith(name) for one in events)

    def url(self, name: str = "gateway") -> str:
        """Where a gateway serves."""
        gateways = parse_site((self.site / "site.toml").read_text(), "site.toml").gateways
        return next(f"http://{g.http_address}" for g in gateways if g.name == name)

    def address(self, name: str = "gateway") -> tuple[str, int]:
        """The same as host and port."""
        host, _, port = self.url(name).removeprefix("http://").partition(":")
        return host, int(port)

    def serve(self, *flags: str, service: str = "echo") -> str:
        """Submit a service that returns its inputs; the job's number."""
        options = ("--kind", "service", "--name", service, "--gpus", "1", "--grace", "2s")
        return self.submit(*options, *flags, "--", sys.executable, *ECHO)

    def answer(self, name: str = "gateway", text: str = "hello", service: str = "echo") -> object:
        """The output for `text`, the reason of a refusal, or None without an answer."""
        url = f"{self.url(name)}/v1/services/{service}/infer"
        try:
            body = httpx.post(url, json={"input": text}, timeout=10).json()
        except httpx.TransportError:
            return None
        return body["output"] if "output" in body else body["error"]["reason"]

    def workers(self, name: str = "gateway", service: str = "echo") -> dict[str, str]:
        """States of a service's workers as a gateway has them, by task."""
        try:
            services = httpx.get(f"{self.url(name)}/v1/services", timeout=10).json()["services"]
        except httpx.TransportError:
            return {}
        return {
            worker["task"]: worker["state"]
            for one in services
            if one["name"] == service
            for worker in one["workers"]
        }


class SteadyLoad(OpenLoop):
    """Requests at a fixed rate, and how many had each outcome."""

    def __init__(self, url: str, rate_per_s: float = 40.0, deadline_ms: int | None = None) -> None:
        super().__init__(rate_per_s, timeout_s=20.0)
        self._url = url
        self._headers = {} if deadline_ms is None else {"timeout-ms": str(deadline_ms)}
        self.outcomes: Counter[str] = Counter()
        self.slowest_s = 0.0

    async def send(self, client: httpx.AsyncClient, number: int, due_s: float) -> None:
        begin_s = time.monotonic()
        try:
            answer = await client.post(self._url, json={"input": number}, headers=self._headers)
            if answer.status_code == 200 and answer.json() == {"output": number}:
                outcome = "ok"
            else:
                outcome = f"{answer.status_code} {answer.text[:200]}"
        except httpx.TransportError as error:
            outcome = repr(error)
        self.slowest_s = max(self.slowest_s, time.monotonic() - begin_s)
        self.outcomes[outcome] += 1


@contextmanager
def steady_load(
    url: str,
    service: str = "echo",
    more: int = 40,
    deadline_ms: int | None = None,
) -> Iterator[SteadyLoad]:
    """Load while the block runs, and until so many more requests have their outcomes."""
    load = SteadyLoad(f"{url}/v1/services/{service}/infer", deadline_ms=deadline_ms)
    load.start()
    try:
        yield load
        enough = load.outcomes.total() + more
        until(lambda: load.outcomes.total() >= enough, f"{more} outcomes more")
    finally:
        load.stop()


def until(holds: Callable[[], object], what: str, within_s: float = 60.0) -> None:
    """Wait until `holds`, looking often."""
    end_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end_s, f"not within {within_s} s: {what}"
        time.sleep(0.02)
