"""What `pip install` brings: the wheel holds every file of every package, and runs by itself."""

import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400), pytest.mark.xdist_group("wheel")]

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCE_ROOTS = PROJECT["tool"]["setuptools"]["packages"]["find"]["where"]
NO_SOURCE = ignore_patterns("__pycache__", "build", "*.egg-info", "*.pyc")
DATA_SUFFIXES = {".c", ".h", ".tcss", ".toml", ".typed"}
STYLES = list((ROOT / "tui").rglob("*.tcss"))
LIMIT_S = 180.0


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, with no path of ours in its environment."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that neither an old build/ nor a test beside this one gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for name in SOURCE_ROOTS:
        copytree(ROOT / name, source / name, ignore=NO_SOURCE)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "--wheel-dir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    """The interpreter of a fresh environment: this wheel, and the dependencies installed here.

    A path line in a .pth adds a directory without obeying the .pth files in it, so the editable
    install of this project stays out.
    """
    folder = wheel.parent / "venv"
    venv.create(folder, with_pip=False)
    found = folder / "bin" / "python"
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        found,
        "install",
        "--quiet",
        "--no-index",
    ]
    run(*pip, "--no-deps", wheel, cwd=wheel.parent)
    (site,) = folder.glob("lib/python3*/site-packages")
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(paths)) + "\n")
    return found


def source_files() -> set[str]:
    """Every file of a package, as the wheel should name it."""
    found = set()
    for name in SOURCE_ROOTS:
        root = ROOT / name
        for init in root.glob("*/__init__.py"):
            for path in init.parent.rglob("*"):
                if path.suffix == ".py" or path.suffix in DATA_SUFFIXES or path.name == "py.typed":
                    found.add(path.relative_to(root).as_posix())
    return found


def test_every_file_of_every_package_is_inside(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = source_files()
    assert {
        "wattline/task/__init__.py",
        "wattline_sim/driver/sim.h",
        "wattline_tui/app.tcss",
    } <= wanted
    assert not wanted - inside
    packages = {name.partition("/")[0] for name in wanted}
    assert {f"{package}/py.typed" for package in packages} <= inside


def test_nothing_else_is_inside(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    libraries = ("wattline_agent/keeper/_launch*.so", "wattline_scheduler/plan/search/_loops*.so")
    built = {n for n in names if any(fnmatch(n, one) for one in libraries)}
    assert len(built) == len(libraries)
    assert not {n for n in names if ".dist-info/" not in n} - source_files() - built


def test_the_command_runs_from_the_wheel(python: Path, tmp_path: Path) -> None:
    command = python.parent / "wattline"
    assert run(command, "--version", cwd=tmp_path) == f"wattline {PROJECT['project']['version']}\n"
    assert "VERB" in run(command, "--help", cwd=tmp_path)


def test_every_package_is_imported_from_the_wheel(python: Path, tmp_path: Path) -> None:
    packages = sorted({name.partition("/")[0] for name in source_files()})
    code = f"import {', '.join(packages)}, wattline.task\n"
    code += "".join(f"print({package}.__file__)\n" for package in packages)
    found = run(python, "-c", code, cwd=tmp_path).splitlines()
    assert len(found) == len(packages) == len(SOURCE_ROOTS)
    for path in found:
        assert Path(path).is_relative_to(python.parents[1])


def test_styles_are_found_where_the_wheel_puts_them(python: Path, tmp_path: Path) -> None:
    code = (
        "import inspect, pathlib, wattline_tui.app as app\n"
        "from textual.screen import Screen\n"
        "kinds = [app.TopApp, Screen]\n"
        "for kind in kinds:\n"
        "    kinds += kind.__subclasses__()\n"
        "    if kind.__module__.startswith('wattline') and 'CSS_PATH' in vars(kind):\n"
        "        print(pathlib.Path(inspect.getfile(kind)).parent / kind.CSS_PATH)\n"
    )
    found = [Path(line) for line in run(python, "-c", code, cwd=tmp_path).splitlines()]
    assert {path.stem for path in found} == {path.stem for path in STYLES}
    assert all(path.is_file() and path.is_relative_to(python.parents[1]) for path in found)
