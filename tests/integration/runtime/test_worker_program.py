"""`python -m wattline_runtime.serve` and `.gateway`: wrong arguments, failing models."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.programs.serving_stack import serving_stack
from wattline_protocol.trust.keys import KeyPair

ECHO = "--model=wattline_examples.serve_echo:Echo"


def run(module: str, *args: str) -> tuple[int, str]:
    """Exit status and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", f"wattline_runtime.{module}", *args],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, str]:
    secret = tmp_path / "worker.key"
    secret.touch(mode=0o600)
    secret.write_text(KeyPair.generate().secret + "\n")
    return {
        "service": "svc",
        "gateway": "tcp://127.0.0.1:9",
        "gateway-key": KeyPair.generate().public,
        "secret-file": str(secret),
    }


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"service": ""}, "WATTLINE_SERVICE"),
        ({"gateway": " , "}, "wattline enroll NAME --role gateway"),
        ({"gateway": "http://localhost"}, 'expected "tcp://HOST:PORT"'),
        ({"gateway-key": "short"}, "WATTLINE_GATEWAY_KEY or --gateway-key: not a key"),
        ({"gateway-key": f"{'k' * 40},{'l' * 40}"}, "--gateway-key: 2 keys for 1 gateways"),
        ({"secret-file": ""}, "WATTLINE_WORKER_SECRET_FILE"),
        ({"secret-file": "/nowhere"}, "/nowhere"),
        ({"model": "nothing:Here"}, "no module nothing"),
        ({"arg": "novalue"}, "name=value"),
        ({"max-batch-cost": "0"}, "0 is below 1"),
        ({"batch-timeout": "0"}, "0.0: expected a number of seconds above 0"),
    ],
)
def test_wrong_arguments_are_named_with_what_is_right(
    arguments: dict[str, str], change: dict[str, str], why: str
) -> None:
    given = {"model": ECHO.removeprefix("--model="), **arguments, **change}
    status, said = run("serve", *(f"--{name}={value}" for name, value in given.items()))
    assert (status, why in said) == (2, True), said
    assert "Traceback" not in said


def test_a_secret_that_others_may_read_is_refused(arguments: dict[str, str]) -> None:
    Path(arguments["secret-file"]).chmod(0o640)
    status, said = run("serve", ECHO, *(f"--{n}={v}" for n, v in arguments.items()))
    assert status == 2
    assert "chmod 600" in said


def test_a_model_that_fails_to_load_ends_the_worker_with_its_traceback(tmp_path: Path) -> None:
    with serving_stack(tmp_path) as stack:
        stack.start_gateway()
        worker = stack.start_worker("--arg=busy_ms=much", wait=False)
        assert worker.wait(30) == 3
        assert "could not convert string to float" in stack.logs()


def test_a_digits_worker_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    with serving_stack(tmp_path) as stack:
        stack.start_gateway()
        digits = "wattline_examples.serve_digits:Digits"
        worker = stack.start_worker("--arg=checkpoints=/nowhere", model=digits, wait=False)
        assert worker.wait(60) == 3
        assert "no intact checkpoint in /nowhere" in stack.logs()


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--http-host=203.0.113.1", "--closed"), "API keys would cross the network"),
        (("--tls-cert=/nowhere", "--tls-key=/nowhere"), "tls_cert /nowhere and tls_key /nowhere"),
        (("--http-host=203.0.113.1", "--closed", "--insecure"), "cannot serve HTTP on 203.0.113.1"),
        (("--worker-host=203.0.113.1",), "cannot accept workers on 203.0.113.1"),
        (("--queue-limit=0",), "at least 1"),
        (("--key-file=/nowhere",), "/nowhere"),
        (("--routes=/nowhere",), "/nowhere"),
    ],
)
def test_a_gateway_that_cannot_serve_says_why(
    tmp_path: Path, args: tuple[str, ...], why: str
) -> None:
    with serving_stack(tmp_path) as stack:
        given = (f"--routes={tmp_path / 'routes.json'}", f"--key-file={tmp_path / 'gateway.key'}")
        status, said = run("gateway", *given, *args)
        assert (status, why in said) == (2, True), said
        assert "Traceback" not in said
        assert stack.processes == []
