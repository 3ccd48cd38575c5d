"""What each program loads to start: an agent is small, a task library costs its task nothing."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "textual", "sklearn", "scipy", "pandas"}

CODE = """
import importlib, json, sys
before = set(sys.modules)
importlib.import_module(sys.argv[1])
new = {name.partition('.')[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(n for n in new if n not in sys.stdlib_module_names and n[0] != '_')))
"""

STDLIB_ONLY = {
    "wattline": {"wattline"},
    "wattline.task": {"wattline"},
    "wattline_agent.keeper.__main__": {"wattline_agent", "wattline_native"},
}
"""What they load beside the standard library."""
LIGHT = {
    "wattline_agent.daemon": {*HEAVY, "rich", "click", "sqlite_utils", "uvicorn"},
    "wattline_agent.floors": {*HEAVY, "rich", "click"},
    "wattline.main": {*HEAVY, "rich", "zmq", "structlog", "sqlite_utils", "pynvml"},
    "wattline.client": {*HEAVY, "rich", "click", "sqlite_utils"},
    "wattline_scheduler.shell.run": {*HEAVY, "httpx", "starlette", "uvicorn"} - {"numpy"},
    "wattline_runtime.gateway.run": HEAVY,
    "wattline_runtime.serve.worker": HEAVY,
    "wattline_tui.app": HEAVY - {"textual"},
    "wattline_sim.node": {*HEAVY, "rich", "click"},
}


def loaded(module: str) -> set[str]:
    """Third-party and own top-level packages that a fresh process has after importing `module`."""
    command = [sys.executable, "-c", CODE, module]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("module", STDLIB_ONLY)
def test_standard_library_and_its_own_package_only(module: str) -> None:
    assert loaded(module) == STDLIB_ONLY[module]


@pytest.mark.parametrize("module", LIGHT)
def test_nothing_heavy_is_loaded_to_start(module: str) -> None:
    assert not loaded(module) & LIGHT[module]


def test_the_probe_sees_what_is_loaded() -> None:
    assert {"msgspec", "wattline_protocol"} <= loaded("wattline_protocol.wire.agent_messages")
