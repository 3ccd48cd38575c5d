"""Settings for the whole suite."""

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from support.spare_worker import SpareWorkerScheduling, lower_priority

if TYPE_CHECKING:
    from xdist.remote import Producer

# Shells let what they start in the background ignore these, and programs inherit that: those of the
# tests would not end at Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# The tests start hundreds of programs, which would each compile all their modules where the
# environment forbids to store them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

SHRINKING_S = 300
"""Hypothesis looks so long for the smallest example that fails; cut short, it shows none."""

# Machines are small and shared, so hypothesis must not fail a test for being slow; a failing
# example is printed as a blob that replays it. The result of the suite depends on the code alone;
# `make properties` looks for new examples, and for twice as many.
settings.register_profile(
    "random", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "fixed", settings.get_profile("random"), derandomize=True, max_examples=50
)
settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--spare-worker", action="store_true", help="the last worker is a spare one")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("spare_worker"):
        lower_priority(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(
    config: pytest.Config, log: "Producer"
) -> SpareWorkerScheduling | None:
    return SpareWorkerScheduling(config, log) if config.getoption("spare_worker") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A property that fails has time to say with which example."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item.obj, "hypothesis"):
            usual_s = float(item.config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(usual_s + SHRINKING_S))
