"""Library folder that lets a task `import wattline.task` without an installation of Wattline."""

from importlib.util import find_spec
from pathlib import Path

from wattline_agent.executor.layout import TASKLIB_DIR

INIT_TEXT = '"""Holds `wattline.task` for programs that run as Wattline tasks."""\n'


def ensure_tasklib(state_dir: Path) -> Path:
    """Install `wattline.task` as `tasklib/wattline/`; returns the folder for PYTHONPATH.

    It comes last there, so that it never shadows a module of the user's. Raises OSError.
    """
    root = state_dir / TASKLIB_DIR
    package = root / "wattline"
    library = package / "task"
    library.mkdir(parents=True, exist_ok=True)
    files = {library / source.name: source.read_bytes() for source in _installed_modules()}
    for path, content in {package / "__init__.py": INIT_TEXT.encode(), **files}.items():
        _replace(path, content)
        path.chmod(0o644)  # tasks read it as whatever account they run as
    for folder in (root, package, library):
        folder.chmod(0o755)
    return root


def _installed_modules() -> list[Path]:
    spec = find_spec("wattline")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        if modules := sorted(Path(folder, "task").glob("*.py")):
            return modules
    raise FileNotFoundError("the installed package wattline has no folder task")


def _replace(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    beside.rename(path)
