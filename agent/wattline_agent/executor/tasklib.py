"""Library folder with what tasks need of Wattline: `import wattline.task` without an installation,
and the launcher and the supervisor of ranks, in the interpreter of the task; and the helpers that
follow its checkpoints and find what it runs with."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from wattline_agent.executor.layout import TASKLIB_DIR

LIBRARY, WATCH = "task", "checkpoint_watch"
RANK_MODULE, INVENTORY_MODULE, LAUNCHER_MODULE = "rank.py", "inventory.py", "rendezvous.py"
CONTAINER_MODULE, RAY_MODULE = "enter_container.py", "ray_cluster.py"
TERMINAL_MODULE = "terminal.py"
RUN = 'test -x "$1" && exec "$@"; shift; exec python3 "$@"'
HELPER = ("/bin/sh", "-c", RUN, "sh", sys.executable, "-I", "-B")
"""In the agent's interpreter, or where the account has no access to that in the host's; isolated
and without bytecode: the account's own modules and folders are not for it."""
WATCH_CODE = f"""import runpy, sys; sys.path.insert(0, sys.argv.pop(1))
runpy.run_module("wattline.{WATCH}", run_name="__main__", alter_sys=True)"""
INIT_TEXT = '"""Holds `wattline.task` for programs that run as Wattline tasks."""\n'


def ensure_tasklib(state_dir: Path) -> Path:
    """Install them as `tasklib/wattline/`; returns the folder for PYTHONPATH.

    It comes last there, so that it never shadows a module of the user's. Raises OSError.
    """
    root = state_dir / TASKLIB_DIR
    package = root / "wattline"
    folders = (root, package, package / LIBRARY, package / WATCH)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    files = {package / name: source.read_bytes() for name, source in _installed_modules()}
    for path, content in {package / "__init__.py": INIT_TEXT.encode(), **files}.items():
        _replace(path, content)
        path.chmod(0o644)  # tasks read it as whatever account they run as
    for folder in folders:
        folder.chmod(0o755)
    return root


def rank_supervisor(tasklib: Path) -> str:
    """The program that torchrun starts for each rank."""
    return f"{tasklib}/wattline/{RANK_MODULE}"


def inventory_program(tasklib: Path) -> str:
    """The helper that finds code and packages of an attempt."""
    return f"{tasklib}/wattline/{INVENTORY_MODULE}"


def checkpoint_watch(tasklib: Path) -> tuple[str, ...]:
    """The command that runs a program and follows its checkpoints, without its arguments."""
    return (*HELPER, "-c", WATCH_CODE, str(tasklib))


def torch_launcher(tasklib: Path) -> str:
    """The program that runs torchrun for one node of a gang."""
    return f"{tasklib}/wattline/{LAUNCHER_MODULE}"


def ray_launcher(tasklib: Path) -> str:
    """The program that runs Ray on the nodes of a gang."""
    return f"{tasklib}/wattline/{RAY_MODULE}"


def container_launcher(tasklib: Path) -> str:
    """The program that executes podman for a task."""
    return f"{tasklib}/wattline/{CONTAINER_MODULE}"


def terminal_launcher(tasklib: Path) -> tuple[str, ...]:
    """The command that runs a program on a terminal, without that program."""
    return (*HELPER, f"{tasklib}/wattline/{TERMINAL_MODULE}")


def _installed_modules() -> Iterator[tuple[str, Path]]:
    """Each file and its name in the package."""
    library = _installed("wattline", LIBRARY)
    for folder in (library, library.parent / WATCH):
        for source in sorted(folder.glob("*.py")):
            yield f"{folder.name}/{source.name}", source
    for module in (RANK_MODULE, INVENTORY_MODULE):
        yield module, library.parent / module
    for name in (LAUNCHER_MODULE, RAY_MODULE):
        yield name, _installed("wattline_runtime", "train") / name
    for name in (CONTAINER_MODULE, TERMINAL_MODULE):
        yield name, Path(__file__).parent / "launchers" / name


def _installed(package: str, name: str) -> Path:
    """A folder of an installed package, which is not imported. Raises FileNotFoundError."""
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        if (found := Path(folder, name)).is_dir():
            return found
    raise FileNotFoundError(f"the installed package {package} has no folder {name}")


def _replace(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    beside.rename(path)
