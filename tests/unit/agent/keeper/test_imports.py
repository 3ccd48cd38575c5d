"""The keeper lives for months beside other people's work: standard library only, and light."""

import subprocess
import sys

LISTING = """
import sys
before = set(sys.modules)
import {module}
tops = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(tops - set(sys.stdlib_module_names)))
"""


def imported_by(module: str) -> set[str]:
    """Top-level packages outside the standard library that importing `module` loads."""
    command = [sys.executable, "-c", LISTING.format(module=module)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_the_keeper_needs_the_standard_library_only() -> None:
    assert imported_by("wattline_agent.keeper.__main__") == {"wattline_agent", "wattline_native"}


def test_the_agents_parts_stay_light() -> None:
    for module in ("wattline_agent.device", "wattline_agent.host", "wattline_agent.executor"):
        heavy = {"torch", "numpy", "textual", "wattline_sim", "wattline_runtime"}
        assert not imported_by(module) & heavy


def test_of_the_command_line_the_executor_loads_what_it_starts_in_tasks_only() -> None:
    code = "import sys, wattline_agent.executor.runner as r; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.split(".")[0] == "wattline"}
    assert loaded <= {"wattline", "wattline.rank"}
