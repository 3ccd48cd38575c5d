"""Starting the command, and importing `wattline.task`, must stay light."""

import json
import subprocess
import sys

HEAVY = ("torch", "numpy", "textual", "rich", "zmq", "sklearn", "starlette", "uvicorn", "sqlite3")


def modules_after(code: str) -> set[str]:
    """Modules that a fresh interpreter holds after `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_loads_nothing_heavy() -> None:
    code = "from wattline.main import run\nassert run(['--help']) == 0"
    loaded = modules_after(code)
    assert loaded.isdisjoint(HEAVY)
    assert not {m for m in loaded if m.startswith(("wattline_agent", "wattline_scheduler"))}


def test_naming_a_verb_wrongly_loads_nothing_heavy() -> None:
    assert modules_after("from wattline.main import run\nrun(['submt'])").isdisjoint(HEAVY)


def test_client_does_without_the_screen() -> None:
    loaded = modules_after("import wattline\nwattline.Client")
    assert loaded.isdisjoint({"torch", "numpy", "textual", "rich", "click", "sqlite3"})


def test_task_library_is_standard_library_only() -> None:
    before = modules_after("pass")
    new = modules_after("import wattline.task") - before
    outside = {m for m in new if m.partition(".")[0] not in sys.stdlib_module_names | {"wattline"}}
    assert outside == set()
