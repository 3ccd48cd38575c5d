"""docs/data.md: each of its commands, one after the other, and what it says that they print."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs.serving_site import ServingSite

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("data")]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/data.md").read_text()
EXAMPLES = ROOT / "examples/data"


def site_in(folder: Path) -> ServingSite:
    """A gateway, a store and a directory for checkpoints."""
    for name in ("store", "checkpoints"):
        (folder / name).mkdir()

    def edited(text: str) -> str:
        example = '# checkpoint_root = "/mnt/checkpoints"'
        assert example in text
        text = text.replace(example, f'checkpoint_root = "{folder}/checkpoints"  #')
        return f'{text}\n[data]\nstore = "{folder}/store"\n'

    return ServingSite(folder, edit=edited)


def steps() -> Iterator[tuple[str, list[str]]]:
    """Each command, and the lines that the page shows below it."""
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            yield command, shown


def test_each_command_does_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the shell, and of the tasks.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    work = tmp_path / "data"
    shutil.copytree(EXAMPLES, work)
    with site_in(tmp_path) as site:
        site.start_gateway()
        site.start_node("n1")
        environ = {**site.environ, "WATTLINE_URL": site.url()}
        kept = tmp_path / "key"
        for command, shown in steps():
            if command.startswith("curl"):
                site.until(lambda: site.workers(service="digits-net"), "the service")
            done = subprocess.run(
                ["bash", "-c", f'{command}\nended=$?; printf %s "$KEY" > {kept}; exit $ended'],
                cwd=work,
                env=environ,
                capture_output=True,
                text=True,
            )
            environ["KEY"] = kept.read_text()
            printed = done.stdout + done.stderr
            for line in shown:
                parts = [re.escape(part) for part in line.split("…")]
                pattern = r"\s+".join(".*".join(parts).replace(r"\ ", " ").split())
                assert re.search(pattern, printed), (command, line, printed)
            fails = command.startswith(("wattline data check", "wattline data rm net@v1"))
            assert done.returncode == int(fails), (command, printed)


def test_the_page_shows_the_files() -> None:
    jobs = [file.read_text() for file in EXAMPLES.glob("*.toml")]
    shown = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1:]
    assert len(shown) == 3
    assert all(any(block in job for job in jobs) for block in shown)
