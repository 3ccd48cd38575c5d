"""What the pages promise exists: verbs, source files, counts."""

import re
from itertools import product
from pathlib import Path
from textwrap import indent

import pytest

from simulation.test_seeds import SEEDS
from wattline.verbs.catalogue import CATALOGUE
from wattline_sim.facility.scenarios import SCENARIOS
from wattline_sim.fleet.mutants.check import MUTANTS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "lab/README.md", "systemd/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
TOPS = ("agent", "protocol", "scheduler", "runtime", "cli", "tui", "sim", "lab", "bench")
VERBS = {verb.words[0] for verb in CATALOGUE} | {"help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_verbs_exist(page: Path) -> None:
    named = set(re.findall(r"`wattline\s+([a-z]+)", page.read_text()))
    assert named <= VERBS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_source_files_exist(page: Path) -> None:
    """As in `plan/model/{shape,columns}.py`, from a package or from the root of the repository."""
    packages = [ROOT, *(ROOT / top for top in TOPS)]
    packages += [path for top in TOPS for path in (ROOT / top).iterdir() if path.is_dir()]
    missing = [
        file
        for written in re.findall(r"`([\w/{},]+/[\w{},]+\.py)`", page.read_text())
        for file in _each(written)
        if not any((package / file).is_file() for package in packages)
    ]
    assert missing == []


def _each(written: str) -> list[str]:
    parts = [part.split(",") for part in re.split(r"[{}]", written)]
    return ["".join(one) for one in product(*parts)]


def test_the_how_tos_of_training_show_what_the_tests_run() -> None:
    how_tos = (ROOT / "docs/training.md").read_text().split("## Words")[0]
    shown = re.findall(r"^```(?:python|toml)\n(.*?)^```$", how_tos, re.MULTILINE | re.DOTALL)
    files = [file.read_text() for file in (ROOT / "examples/training").glob("*.*")]
    assert len(shown) == 8
    for block in shown:
        assert any(block in text or indent(block, "    ") in text for text in files), block


def test_counts_of_the_readme() -> None:
    assert f"any one of {len(MUTANTS)} rules" in README
    assert f"{SEEDS} in `make test`" in README
    assert f"({len(SCENARIOS)} scenarios" in README
