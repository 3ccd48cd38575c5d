"""Real servers on loopback for readers of sensors: simulated Redfish hardware, and bad manners."""

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]

SIMULATED_OUTLET = {
    "@odata.type": "#Outlet.v1_4_4.Outlet",
    "@odata.id": "/redfish/v1/PowerEquipment/RackPDUs/1/Outlets/A1",
    "Id": "A1",
    "Name": "Outlet A1 (simulated)",
    "Status": {"Health": "OK", "State": "Enabled"},
    "PhaseWiringType": "OnePhase3Wire",
    "PowerEnabled": True,
    "PowerState": "On",
    "Voltage": {"DataSourceUri": "/redfish/v1/…/Sensors/VoltageA1", "Reading": 230.1},
    "PowerWatts": {
        "DataSourceUri": "/redfish/v1/PowerEquipment/RackPDUs/1/Sensors/PowerA1",
        "Reading": 3412.5,
        "ApparentVA": 3500.0,
        "PowerFactor": 0.97,
    },
}
"""Shaped like the DMTF's Outlet schema (DSP2046); the hardware is simulated."""

SIMULATED_SENSOR = {
    "@odata.type": "#Sensor.v1_9_0.Sensor",
    "@odata.id": "/redfish/v1/PowerEquipment/RackPDUs/1/Sensors/PowerA1",
    "Id": "PowerA1",
    "Name": "Power of outlet A1 (simulated)",
    "ReadingType": "Power",
    "ReadingUnits": "W",
    "Reading": 3412.5,
    "Status": {"Health": "OK", "State": "Enabled"},
}

SIMULATED_POWER = {
    "@odata.type": "#Power.v1_7_2.Power",
    "@odata.id": "/redfish/v1/Chassis/1/Power",
    "Id": "Power",
    "PowerControl": [{"MemberId": "0", "PowerCapacityWatts": 9000, "PowerConsumedWatts": 5120}],
}


def says(document: object, status: int = 200) -> Answer:
    """Answers with JSON."""
    return says_bytes(json.dumps(document).encode(), status)


def says_bytes(data: bytes, status: int = 200) -> Answer:
    """Answers with any bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def only_for(authorization: str, answer: Answer) -> Answer:
    """Wants exactly this header."""

    def checked(handler: BaseHTTPRequestHandler) -> None:
        is_right = handler.headers.get("authorization") == authorization
        (answer if is_right else says({"error": {"code": "Base.1.8.NoValidSession"}}, 401))(handler)

    return checked


@dataclass
class SensorServer:
    """A server with an answer for each path; `asked` counts."""

    url: str
    routes: dict[str, Answer]
    asked: list[str] = field(default_factory=list)
    posted: list[tuple[str, Any]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def hangs(self) -> Answer:
        """Says nothing until the server stops."""
        return lambda handler: _wait(self.stopping)

    def drips(self) -> Answer:
        """Sends a byte now and then, so that no single read times out."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("content-length", "100000")
            handler.end_headers()
            while not self.stopping.wait(0.05):
                handler.wfile.write(b" ")
                handler.wfile.flush()

        return answer


def _wait(event: threading.Event) -> None:
    event.wait()


@contextmanager
def sensor_server(
    routes: dict[str, Answer] | None = None, cert: tuple[Path, Path] | None = None
) -> Iterator[SensorServer]:
    """Serve on a free port until the end of the block; `cert`: certificate and key for https."""
    known: SensorServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known.asked.append(self.path)
            self.answer_for(self.path.partition("?")[0])

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            known.posted.append((self.path, json.loads(self.rfile.read(length))))
            self.answer_for(self.path)

        def answer_for(self, path: str) -> None:
            answer = known.routes.get(path, says({"error": {"code": "ResourceNotFound"}}, 404))
            try:
                answer(self)
            except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                self.close_connection = True

        def log_message(self, *args: Any) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    if cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert[0], cert[1])
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    scheme = "http" if cert is None else "https"
    known = SensorServer(f"{scheme}://127.0.0.1:{server.server_address[1]}", routes or {})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield known
    finally:
        known.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up or trusts nobody is what these tests are about."""


def certificate(directory: Path) -> tuple[Path, Path] | None:
    """A fresh self-signed certificate for 127.0.0.1 and its key; None without openssl."""
    if shutil.which("openssl") is None:
        return None
    cert, key = directory / "cert.pem", directory / "key.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    name = "-subj /CN=simulated-pdu -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*make.split(), *name.split(), "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
    )
    return cert, key
