"""A real gateway and real workers as processes on loopback, for tests."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import httpx
import msgspec

from support.programs.ports import free_ports
from wattline_protocol.routing.file import parse_routes
from wattline_protocol.routing.model import PublicRoute
from wattline_protocol.trust.keys import KeyPair, save_keys

SERVICE = "svc"
T = TypeVar("T")

HELD_MODEL = '''
import os, pathlib, time

class Held:
    """Notes what it runs, and runs until the file `go` appears."""

    def load(self, args):
        self.dir = pathlib.Path(args["dir"])

    def predict(self, batch):
        for value in batch:
            (self.dir / f"ran-{value}-{os.getpid()}").touch()
        while not (self.dir / "go").exists():
            time.sleep(0.005)
        return batch
'''

COUNTED_MODEL = '''
import pathlib, time

class Counted:
    """Notes each input that it is given in a file; its output for -1 is no JSON."""

    def load(self, args):
        self.runs = (pathlib.Path(args["dir"]) / "runs").open("a", buffering=1)

    def predict(self, batch):
        time.sleep(0.002)
        for value in batch:
            self.runs.write(f"{value}\\n")
        return [object() if value == -1 else value * 2 for value in batch]
'''


def wait_for(probe: Callable[[], T], what: str, within_s: float = 60.0) -> T:
    """The first true value of `probe`; fails the test when there is none in time."""
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        if found := probe():
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {within_s} s: {what}")


WORKER_PORTS = 3
"""In a row: one for each process of a gateway, as many as a test has."""


class Stack:
    """One gateway, any number of workers; everything is killed at the end whatever happens."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.keys = KeyPair.generate()
        self.routes: dict[str, list[dict[str, Any]]] = {SERVICE: []}
        self.settings: dict[str, dict[str, Any]] = {}
        self.grants: list[dict[str, Any]] = []
        """API keys, for a closed gateway."""
        self.public: list[PublicRoute] = []
        """Routes."""
        self.processes: list[subprocess.Popen[bytes]] = []
        self.endpoints: dict[str, str] = {}
        save_keys(self.keys, directory / "gateway.key")
        (directory / "held.py").write_text(HELD_MODEL)
        (directory / "counted.py").write_text(COUNTED_MODEL)
        self.write_routes()

    def write_routes(self) -> None:
        """Replace the routes file in one step, as an operator's script should."""
        new = self.directory / "routes.new"
        routes = {
            "services": self.routes,
            "settings": self.settings,
            "keys": self.grants,
            "public": msgspec.to_builtins(self.public),
        }
        new.write_text(json.dumps(routes))
        new.replace(self.directory / "routes.json")

    def write_route(self, text: str) -> None:
        """Replace the routes by those of the text, a job file without its kind."""
        self.public = list(parse_routes(f'kind = "route"\n{text}', "route.toml"))
        self.write_routes()

    def start_gateway(self, *args: str, enter: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """`enter`: what comes before its command, as of a SmallDisk.

        Its worker ports are none that the kernel gives out: a successor needs them again, and each
        further process the next one.
        """
        if not any(one.startswith("--worker-port") for one in args):
            args = (*args, f"--worker-port={free_ports(WORKER_PORTS)}")
        process = self._start(
            "wattline_runtime.gateway",
            f"--routes={self.directory / 'routes.json'}",
            f"--key-file={self.directory / 'gateway.key'}",
            *args,
            enter=enter,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the gateway has not started:\n{self.logs()}"
        self.endpoints = json.loads(line)
        return process

    def start_worker(
        self,
        *args: str,
        model: str = "wattline_examples.serve_echo:Echo",
        service: str = SERVICE,
        job: int = 1,
        listed: bool = True,
        wait: bool = True,
        module: str = "wattline_runtime.serve",
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.Popen[bytes]:
        """A worker with a fresh key, by default listed in the routes and ready for requests."""
        keys = KeyPair.generate()
        number = len(self.processes)
        secret = self.directory / f"worker-{number}.key"
        secret.touch(mode=0o600)
        secret.write_text(keys.secret)
        ref = {"job": job, "task": number, "attempt": 1}
        self.last_route = {"ref": ref, "public_key": keys.public}
        if listed:
            self.routes.setdefault(service, []).append(self.last_route)
            self.write_routes()
        ready = len(self.ready_workers(service)) if wait else 0
        environment = {
            **environment,
            "WATTLINE_SERVICE": service,
            "WATTLINE_GATEWAY": self.endpoints["workers"],
            "WATTLINE_GATEWAY_KEY": self.endpoints["public_key"],
            "WATTLINE_WORKER_SECRET_FILE": str(secret),
            "WATTLINE_STOP_FILE": str(self.directory / f"stop-{number}"),
        }
        arguments = (f"--model={model}", *args) if model else args
        process = self._start(module, *arguments, environment=environment)
        if wait:
            wait_for(lambda: len(self.ready_workers(service)) > ready, "the worker is ready")
        return process

    def start_bridge(self, *args: str, wait: bool = True) -> subprocess.Popen[bytes]:
        """A worker with an HTTP server behind it."""
        module = "wattline_runtime.serve.bridge"
        return self.start_worker(*args, model="", module=module, wait=wait)

    def start_held(self, *args: str, **options: Any) -> subprocess.Popen[bytes]:
        """A worker whose model runs until `let_go`."""
        model = f"{self.directory / 'held.py'}:Held"
        return self.start_worker(f"--arg=dir={self.directory}", *args, model=model, **options)

    def start_counted(self, *, wait: bool = True) -> subprocess.Popen[bytes]:
        """A worker that doubles its inputs; see `runs`."""
        model = f"{self.directory / 'counted.py'}:Counted"
        return self.start_worker(f"--arg=dir={self.directory}", model=model, wait=wait)

    def runs(self) -> list[int]:
        """Inputs that the counted model was given."""
        return [int(line) for line in (self.directory / "runs").read_text().split()]

    def let_go(self) -> None:
        (self.directory / "go").touch()

    def ran(self, value: object) -> list[int]:
        """Pids of the held workers whose model was given `value`."""
        return [int(p.name.split("-")[-1]) for p in self.directory.glob(f"ran-{value}-*")]

    def _start(
        self,
        module: str,
        *args: str,
        enter: tuple[str, ...] = (),
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.Popen[bytes]:
        log = (self.directory / f"log-{len(self.processes)}").open("wb")
        with log:
            process = subprocess.Popen(
                [*enter, sys.executable, "-m", module, *args],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **environment},
                cwd=self.directory,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def logs(self) -> str:
        """What all processes have logged."""
        return "".join(p.read_text() for p in sorted(self.directory.glob("log-*")))

    # --- HTTP

    def url(self, path: str) -> str:
        return self.endpoints["http_url"] + path

    def infer(self, body: object, service: str = SERVICE, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = self.url(f"/v1/services/{service}/infer")
        return httpx.post(url, content=content, headers=headers, timeout=30)

    def _listed(self) -> Any:
        """None while a limit refuses this one: of connections, as the last one may still count,
        or of time, where this process is late to send its request."""
        try:
            body = httpx.get(self.url("/v1/services"), timeout=30).json()
        except httpx.RemoteProtocolError:
            return None
        return body if "services" in body else None

    def service(self, name: str = SERVICE) -> dict[str, Any]:
        services = wait_for(self._listed, "the list of services")["services"]
        found: dict[str, Any] = next((s for s in services if s["name"] == name), {"workers": []})
        return found

    def ready_workers(self, service: str = SERVICE) -> list[str]:
        return [w["task"] for w in self.service(service)["workers"] if w["state"] == "ready"]

    def metric(self, name: str, **labels: str) -> float:
        """A sample's value; 0 where there is none."""
        text = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        start = f"wattline_gateway_{name}" + (f"{{{text}}} " if text else " ")
        for line in httpx.get(self.url("/metrics")).text.splitlines():
            if line.startswith(start):
                return float(line.removeprefix(start))
        return 0.0

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def serving_stack(directory: Path) -> Iterator[Stack]:
    """A stack without processes yet; none is left afterwards."""
    stack = Stack(directory)
    try:
        yield stack
    except AssertionError as error:
        error.add_note(stack.logs())
        raise
    finally:
        stack.close()
