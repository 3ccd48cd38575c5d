"""Library folder with what tasks need of Wattline: `import wattline.task` without an installation,
and the launcher and the supervisor of ranks, in the interpreter of the task; and the helper that
finds what it runs with."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from wattline_agent.executor.layout import TASKLIB_DIR

LIBRARY = "task"
RANK_MODULE, INVENTORY_MODULE, LAUNCHER_MODULE = "rank.py", "inventory.py", "rendezvous.py"
CONTAINER_MODULE = "enter_container.py"
INIT_TEXT = '"""Holds `wattline.task` for programs that run as Wattline tasks."""\n'


def ensure_tasklib(state_dir: Path) -> Path:
    """Install them as `tasklib/wattline/`; returns the folder for PYTHONPATH.

    It comes last there, so that it never shadows a module of the user's. Raises OSError.
    """
    root = state_dir / TASKLIB_DIR
    package = root / "wattline"
    library = package / LIBRARY
    library.mkdir(parents=True, exist_ok=True)
    files = {package / name: source.read_bytes() for name, source in _installed_modules()}
    for path, content in {package / "__init__.py": INIT_TEXT.encode(), **files}.items():
        _replace(path, content)
        path.chmod(0o644)  # tasks read it as whatever account they run as
    for folder in (root, package, library):
        folder.chmod(0o755)
    return root


def rank_supervisor(tasklib: Path) -> str:
    """The program that torchrun starts for each rank."""
    return f"{tasklib}/wattline/{RANK_MODULE}"


def inventory_program(tasklib: Path) -> str:
    """The helper that finds code and packages of an attempt."""
    return f"{tasklib}/wattline/{INVENTORY_MODULE}"


def torch_launcher(tasklib: Path) -> str:
    """The program that runs torchrun for one node of a gang."""
    return f"{tasklib}/wattline/{LAUNCHER_MODULE}"


def container_launcher(tasklib: Path) -> str:
    """The program that executes podman for a task."""
    return f"{tasklib}/wattline/{CONTAINER_MODULE}"


def _installed_modules() -> Iterator[tuple[str, Path]]:
    """Each file and its name in the package."""
    library = _installed("wattline", LIBRARY)
    for source in sorted(library.glob("*.py")):
        yield f"{LIBRARY}/{source.name}", source
    for module in (RANK_MODULE, INVENTORY_MODULE):
        yield module, library.parent / module
    yield LAUNCHER_MODULE, _installed("wattline_runtime", "train") / LAUNCHER_MODULE
    yield CONTAINER_MODULE, Path(__file__).parent / "launchers" / CONTAINER_MODULE


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
