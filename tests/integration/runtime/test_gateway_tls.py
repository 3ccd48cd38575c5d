"""HTTPS at the gateway: served, renewed without a restart, and refused in words."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def make(folder: Path, name: str) -> None:
    """A certificate for 127.0.0.1 that signs itself, and its key, in place of any before."""
    files = ("-keyout", str(folder / "new.key"), "-out", str(folder / "new.pem"))
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    names = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ["openssl", "req", "-x509", *kind, *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    for kind_of in ("key", "pem"):
        (folder / f"new.{kind_of}").replace(folder / f"tls.{kind_of}")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    make(tmp_path, "first")
    with serving_stack(tmp_path) as running:
        yield running


def start(stack: Stack, *flags: str) -> None:
    """Serve HTTPS."""
    cert, key = stack.directory / "tls.pem", stack.directory / "tls.key"
    stack.start_gateway(f"--tls-cert={cert}", f"--tls-key={key}", *flags)


def served(stack: Stack) -> str:
    """The certificate that a new connection gets, as PEM."""
    where = urlsplit(stack.endpoints["http_url"])
    return ssl.get_server_certificate((str(where.hostname), int(where.port or 0)))


def client(stack: Stack) -> httpx.Client:
    """One that trusts the certificate of this moment."""
    context = ssl.create_default_context(cafile=str(stack.directory / "tls.pem"))
    return httpx.Client(verify=context, base_url=stack.endpoints["http_url"])


def test_requests_are_answered_over_tls_and_plain_ones_are_not(stack: Stack) -> None:
    start(stack)
    assert stack.endpoints["http_url"].startswith("https://")
    with client(stack) as https:
        stack.start_worker(wait=False)
        body = {"input": "x" * 100_000}
        post = f"/v1/services/{SERVICE}/infer"
        wait_for(lambda: https.post(post, json=body).status_code == 200, "an answer")
        assert https.post(post, json=body).json() == {"output": body["input"]}
        plain = stack.endpoints["http_url"].replace("https", "http")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{plain}/healthz")
        assert https.get("/healthz").status_code == 200, "others are not affected"


def test_a_new_certificate_is_in_force_without_a_restart_and_a_bad_one_never(stack: Stack) -> None:
    start(stack)
    first = served(stack)
    with client(stack) as https:
        assert https.get("/healthz").status_code == 200
        (stack.directory / "tls.key").write_text("no key")
        wait_for(lambda: "certificate_not_usable" in stack.logs(), "it is logged")
        assert served(stack) == first
        make(stack.directory, "second")
        wait_for(lambda: served(stack) != first, "the new one is served")
        assert https.get("/healthz").status_code == 200, "open connections stay"
    with client(stack) as https:
        assert https.get("/healthz").status_code == 200
    assert "no key" not in stack.logs()


def test_connections_that_never_end_their_handshake_are_cut(stack: Stack) -> None:
    start(stack, "--client-timeout-s=1")
    where = urlsplit(stack.endpoints["http_url"])
    with socket.create_connection((str(where.hostname), int(where.port or 0))) as silent:
        silent.settimeout(20)
        assert silent.recv(1) == b""
