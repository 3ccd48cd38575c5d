"""House rules that a machine can check: sizes, unfinished work, traces of where this was made."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE_ROOTS = PROJECT["tool"]["setuptools"]["packages"]["find"]["where"]
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 70
GENERATED = {"docs/cli.md"}
PICTURES = "tests/snapshots/__snapshots__/"


def tracked() -> list[str]:
    """Every file of the project, as paths from its root."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("no git checkout here: which files are the project's is not known")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


def python_files() -> list[str]:
    return [name for name in tracked() if name.endswith(".py")]


# Written in two pieces, so that this file itself holds none of them.
TRACES = [
    first + second
    for first, second in (
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/ho", "me/"),
        ("py", "pi.org"),
        ("python", "hosted.org"),
        ("download.", "pytorch"),
        ("an", "thropic"),
        ("cl", "aude"),
        ("chat", "gpt"),
        ("facts", "/"),
    )
]
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")))
NOT_IMPLEMENTED = "NotImplemented" + "Error"


def test_nothing_tells_where_this_was_made() -> None:
    found = [
        f"{name}: {trace}"
        for name in tracked()
        for trace in TRACES
        if trace in text_of(name).lower()
    ]
    assert not found


def test_nothing_is_left_unfinished() -> None:
    names = [n for n in tracked() if not n.startswith(PICTURES)]
    found = [f"{n}: {hit[0]}" for n in names for hit in UNFINISHED.finditer(text_of(n))]
    assert not found


def raised_unimplemented(name: str) -> Iterator[str]:
    """Functions whose whole body says that they are still to be written."""
    for node in ast.walk(ast.parse(text_of(name))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last = node.body[-1]
            is_stub = len([s for s in node.body if not isinstance(s, ast.Expr)]) == 1
            if is_stub and isinstance(last, ast.Raise) and NOT_IMPLEMENTED in ast.unparse(last):
                yield f"{name}:{node.lineno} {node.name}"


def test_no_function_waits_to_be_written() -> None:
    assert not [stub for name in python_files() for stub in raised_unimplemented(name)]


def test_files_are_short_enough_to_read() -> None:
    lines = {name: text_of(name).count("\n") for name in tracked() if name not in GENERATED}
    code = {n: c for n, c in lines.items() if n.endswith((".py", ".c", ".h", ".tcss", ".md"))}
    assert not {name: count for name, count in code.items() if count > MAX_FILE_LINES}


def test_functions_are_short_enough_to_read() -> None:
    found = [
        f"{name}:{node.lineno} {node.name}"
        for name in python_files()
        for node in ast.walk(ast.parse(text_of(name)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert not found


def test_every_package_says_what_belongs_there() -> None:
    inits = [n for n in python_files() if n.endswith("/__init__.py")]
    assert inits
    assert not [n for n in inits if not ast.get_docstring(ast.parse(text_of(n)))]


def test_no_file_is_a_box_for_everything() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    assert not [n for n in tracked() if vague & set(Path(n).with_suffix("").parts)]


# --- Dependencies ---------------------------------------------------------------------------

EXTRAS: dict[str, tuple[str, ...]] = {
    "native": (),
    "protocol": (),
    "agent": ("agent",),
    "scheduler": ("scheduler",),
    "runtime": ("runtime", "data", "otel"),
    "cli": ("data", "demo", "mlflow"),
    "tui": ("tui",),
    "sim": ("sim",),
    "lab": ("lab",),
    "examples": ("runtime", "demo", "examples", "ray"),
    "bench": ("agent", "scheduler", "runtime", "sim", "bench"),
}


def requirement_name(line: str) -> str:
    return re.split(r"[\[<>=~! ;]", line, maxsplit=1)[0].lower()


def declared(extras: tuple[str, ...]) -> set[str]:
    project = PROJECT["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return {requirement_name(line) for line in lines}


def normal(distribution: str) -> str:
    """Its name as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def third_party(root: str) -> dict[str, str]:
    """Imported top-level names, and a file that imports each."""
    found: dict[str, str] = {}
    for name in python_files():
        if not name.startswith(f"{root}/"):
            continue
        for node in ast.walk(ast.parse(text_of(name))):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            found.update({module.partition(".")[0]: name for module in modules})
    ours = re.compile("wattline")
    return {
        module: name
        for module, name in found.items()
        if module not in sys.stdlib_module_names and not ours.match(module)
    }


def named_after(module: str, known: set[str]) -> set[str]:
    """Of a module that is not installed here, as those of an extra: what may provide it."""
    return {name for name in known if module in name.split("-")}


@pytest.mark.parametrize("root", PACKAGE_ROOTS)
def test_what_a_package_imports_is_declared(root: str) -> None:
    providers = importlib.metadata.packages_distributions()
    known = declared(EXTRAS[root])
    missing = {
        f"{module} in {name}"
        for module, name in third_party(root).items()
        if not {normal(d) for d in providers.get(module) or named_after(module, known)} & known
    }
    assert not missing


def test_what_is_declared_is_explained() -> None:
    page = text_of("docs/dependencies.md").lower()
    extras = [e for e in PROJECT["project"]["optional-dependencies"] if e not in ("all", "dev")]
    assert not {name for name in declared(tuple(extras)) if name not in page}
