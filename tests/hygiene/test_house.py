"""Where code is: small folders, no name twice, no import circle, nothing that only tests call."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCTION = ("native", "agent", "protocol", "scheduler", "runtime", "cli", "tui")
CALLERS = (*PRODUCTION, "sim", "lab", "examples", "bench")
"""What simulation, lab and benchmarks call is not for tests only."""

MAX_MODULES = 20
ENTRANCES = ("__init__.py", "__main__.py")

CALLED_BY_NAME = re.compile(
    r"__\w+__|(action|compose|on|watch|render|key|check|validate|get|format|do|visit)_?\w*"
    r"|capture_signals|eof_received"
)
"""Methods that a library calls by their names (Textual, click, http.server, ast, asyncio)."""


@cache
def sources(*tops: str) -> tuple[Path, ...]:
    return tuple(path for top in tops for path in sorted((ROOT / top).rglob("*.py")))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folders() -> Iterator[Path]:
    for top in CALLERS:
        yield from sorted({path.parent for path in sources(top)})


@pytest.mark.parametrize("folder", folders(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_has_few_modules(folder: Path) -> None:
    modules = [path.name for path in folder.glob("*.py") if path.name not in ENTRANCES]
    assert len(modules) <= MAX_MODULES


def test_no_file_name_twice_in_the_scheduler() -> None:
    names = Counter(path.name for path in sources("scheduler") if path.name not in ENTRANCES)
    assert [name for name, count in names.items() if count > 1] == []


def _imports(tree: ast.AST, known: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known:
                    yield inner
                elif node.module in known:
                    yield node.module


def _unordered(graph: dict[str, set[str]]) -> set[str]:
    """Modules that are left when those that import nothing left are taken out again and again."""
    left = dict(graph)
    while free := [name for name, others in left.items() if not others & left.keys() - {name}]:
        for name in free:
            del left[name]
    return set(left)


def test_no_import_circle() -> None:
    """Imports for types only and inside functions count as well."""
    paths = {module_of(path): path for path in sources(*PRODUCTION)}
    graph = {
        name: set(_imports(ast.parse(path.read_text()), set(paths))) for name, path in paths.items()
    }
    assert _unordered(graph) == set()


def test_no_function_that_only_tests_call() -> None:
    uses: Counter[str] = Counter()
    for path in sources(*CALLERS):
        uses.update(re.findall(r"[A-Za-z_]\w*", path.read_text()))
    defined: dict[str, list[str]] = defaultdict(list)
    for path in sources(*PRODUCTION):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                defined[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    unused = {
        name: where
        for name, where in defined.items()
        if uses[name] <= len(where) and not CALLED_BY_NAME.fullmatch(name)
    }
    assert unused == {}


def test_the_map_names_every_folder() -> None:
    page = (ROOT / "docs/house.md").read_text()
    missing = [
        name
        for folder in folders()
        if (name := "/".join(folder.relative_to(ROOT).parts[1:])) and f"`{name}/`" not in page
    ]
    assert missing == []
