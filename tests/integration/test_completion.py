"""Completion in real shells: words of the command line, and names that a scheduler answers."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.programs.fake_door import FakeDoor
from wattline.completion import names
from wattline.completion.shells import answer
from wattline.verbs.catalogue import CATALOGUE
from wattline.verbs.group import Root
from wattline_protocol.views.name_views import ListNames, NamedView, Names
from wattline_protocol.wire.client_messages import Answer, Denied, Request

HOSTILE = ("$(touch owned)", "`touch owned`", "a;touch owned", "*", "a b", "-x", "a\nb", "~", "!1")

PROGRAM = """#!{python}
from wattline.completion import names
from wattline.main import main
names.PATIENCE_S = {patience_s}
main()
"""

BUSY_S = 30.0
"""Patience on a machine that runs tests."""

ASK = """
source <(wattline completion bash)
compopt() { echo "compopt $*"; }
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_wattline_completion wattline
printf '%s\\n' "${COMPREPLY[@]}"
"""


def answers(request: Request) -> Iterable[Answer]:
    if not isinstance(request, ListNames):
        return [Denied("bad_request", "only names are asked for")]
    known = {
        "node": ("gpu-a1", "gpu-a2", *HOSTILE),
        "open job": ("17", "12"),
        "queue": ("default", "night"),
        "data set": ("digits", "net"),
    }.get(request.kind, ())
    found = (name for name in known if name.startswith(request.prefix))
    return [Names(tuple(NamedView(name, "train RUNNING") for name in found))]


class Bash:
    """The program as installed, in front of the path."""

    def __init__(self, folder: Path, patience_s: float = BUSY_S) -> None:
        self.folder = folder
        program = folder / "bin" / "wattline"
        program.parent.mkdir()
        program.write_text(PROGRAM.format(python=sys.executable, patience_s=patience_s))
        program.chmod(0o755)
        self.environ = {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "WATTLINE_BUNDLE": str(folder / "ops.toml"),
            "HOME": str(folder),
        }

    def words(self, *line: str) -> list[str]:
        """What is offered for the last word of the line."""
        done = subprocess.run(
            ["bash", "--norc", "-c", ASK, "bash", *line],
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return [word for word in done.stdout.split("\n") if word]


def test_bash_offers_words_and_names_but_none_that_it_would_expand(tmp_path: Path) -> None:
    with FakeDoor(tmp_path, answers) as fake:
        fake.bundle()
        bash = Bash(tmp_path)
        assert bash.words("wattline", "drain", "") == ["gpu-a1", "gpu-a2"]
        assert bash.words("wattline", "cancel", "9,1") == ["9,17", "9,12"]
        assert bash.words("wattline", "submit", "--", "py") == ["compopt -o default"]
        assert bash.words("wattline", "drain", "$(touch owned)") == []
        assert [path.name for path in tmp_path.glob("owned*")] == []


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("wattline canc", ["cancel"]),
        ("wattline power sh", ["shed"]),
        ("wattline node gpu-a", ["gpu-a1", "gpu-a2"]),
        ("wattline submit --queue n", ["night"]),
        ("wattline submit --torch", ["--torchrun"]),
        ("wattline update 12 --queue n", ["night"]),
        ("wattline data show n", ["net"]),
        ("wattline data check new.csv --against d", ["digits"]),
        ("wattline nosuchverb --x ''", []),
    ],
)
def test_each_line_has_its_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    offered: list[str],
) -> None:
    monkeypatch.setattr(names, "PATIENCE_S", BUSY_S)
    with FakeDoor(tmp_path, answers) as fake:
        fake.bundle()
        variables = {
            "WATTLINE_BUNDLE": str(tmp_path / "ops.toml"),
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1),
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert answer(Root(CATALOGUE), "bash_complete") == 0
    assert capsys.readouterr().out.split() == [f"plain,{word}" for word in offered]


def test_without_a_scheduler_or_a_bundle_it_is_silent(tmp_path: Path) -> None:
    with FakeDoor(tmp_path, answers) as fake:
        fake.bundle()
    bash = Bash(tmp_path, names.PATIENCE_S)
    assert bash.words("wattline", "drain", "") == []
    bash.environ["WATTLINE_BUNDLE"] = "/no/such.toml"
    assert bash.words("wattline", "drain", "") == []


@pytest.mark.parametrize(("shell", "has"), [("zsh", "#compdef wattline"), ("fish", "--no-files")])
def test_other_shells_have_a_script_too(shell: str, has: str) -> None:
    done = CliRunner().invoke(Root(CATALOGUE), ["completion", shell])
    assert done.exit_code == 0
    assert has in done.output


def test_every_parameter_that_is_completed_exists() -> None:
    known = {(verb.name, p.name) for verb in CATALOGUE for p in verb.args}
    assert known >= names.OF_VERB.keys()
    assert {name for _, name in known} >= names.OF_PARAMETER.keys()
