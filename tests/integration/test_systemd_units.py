"""The units in systemd/: sound to systemd, closed, and in step with the command line."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from wattline.verbs.catalogue import CATALOGUE
from wattline.verbs.group import Root
from wattline_agent.keeper.server import SHUTDOWN_GRACE_S

FOLDER = Path(__file__).parents[2] / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
PREFIX = "/opt/wattline/bin/"
HARDENED = ("agent", "cap", "gateway", "scheduler")
RESTARTED = ("agent", "gateway", "keeper", "scheduler")
SINCE_254 = re.compile(r"Unknown key(?: name)? '(?:RestartSteps|RestartMaxDelaySec)'")
"""An older systemd says that it passes these over."""
MAX_EXPOSURE = {"scheduler": 2.0, "gateway": 2.0, "agent": 4.0, "cap": 4.0}
FARTHEST_COMMENT = 8
"""Lines from a directive up to the comment that explains its group."""

NEEDS_REASON = re.compile(
    r"Protect\w+|Private\w+|Restrict\w+|SystemCall\w+|Capability\w+|Ambient\w+|NoNewPrivileges"
    r"|Device\w+|MemoryDeny\w+|LockPersonality|UMask|Delegate|KillMode|OOM\w+|Limit\w+|TasksMax"
    r"|LoadCredential|DynamicUser|ProcSubset|ReadOnlyPaths|StateDirectoryMode|Type=notify"
)
systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


class Line(NamedTuple):
    """A directive and where it stands."""

    number: int
    name: str
    value: str


def directives(unit: Path) -> Iterator[Line]:
    for number, text in enumerate(unit.read_text().splitlines()):
        name, equals, value = text.partition("=")
        if equals and not text.startswith("#"):
            yield Line(number, name, value)


def values(name: str, directive: str) -> list[str]:
    unit = FOLDER / f"wattline-{name}.service"
    return [line.value for line in directives(unit) if line.name == directive]


def commands(text: str) -> list[list[str]]:
    """Every command of ours that a unit or the README runs."""
    found = re.findall(rf"(?:^ExecStart=|^# ){PREFIX}(\S+)(.*)$", text, re.MULTILINE)
    return [[name, *shlex.split(rest.split("#")[0])] for name, rest in found]


def check_command(name: str, verb: str, *words: str) -> None:
    """The real command line takes these words. Raises click.UsageError."""
    assert name == "wattline"
    Root(CATALOGUE).commands[verb].make_context(verb, list(words))


def ids(unit: Path) -> str:
    return unit.stem


@pytest.mark.parametrize("unit", UNITS, ids=ids)
def test_every_command_is_one_that_the_command_line_takes(unit: Path) -> None:
    (command,) = commands(unit.read_text())
    if command[0] == "wattline":
        check_command(*command)
        return
    program, *flags = command
    assert (program, flags[:3]) == ("python", ["-P", "-m", "wattline_agent.keeper"])
    help_text = subprocess.run(
        [sys.executable, *flags[:3], "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert flags[3:] == ["--state-dir", "/var/lib/wattline-agent"]
    assert "--state-dir" in help_text


def test_a_wrong_option_would_be_noticed() -> None:
    with pytest.raises(click.UsageError, match="--stat-dir"):
        check_command("wattline", "agent", "--stat-dir", "x")


def test_the_readme_shows_commands_that_exist() -> None:
    text = (FOLDER / "README.md").read_text().replace("# as-wattline", f"# {PREFIX}wattline")
    ours = [command for command in commands(text) if command[0] == "wattline"]
    assert {verb for _, verb, *_ in ours} == {"init", "enroll", "agent", "scheduler"}
    for command in ours:
        check_command(*command)


@pytest.mark.parametrize("unit", UNITS, ids=ids)
def test_every_privilege_and_every_restriction_is_explained(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    unexplained = []
    for line in directives(unit):
        if NEEDS_REASON.fullmatch(line.name) is None:
            continue
        above = lines[max(0, line.number - FARTHEST_COMMENT) : line.number]
        group = above[len(above) - above[::-1].index("") :] if "" in above else above
        if not any(text.startswith("#") for text in group):
            unexplained.append(lines[line.number])
    assert not unexplained


def test_agent_keeper_and_boot_floors_share_one_state_directory() -> None:
    for name in ("agent", "keeper", "cap"):
        (command,) = values(name, "ExecStart")
        assert "--state-dir /var/lib/wattline-agent" in command
        assert values(name, "StateDirectory") == ["wattline-agent"]


def test_tasks_outlive_the_agent_and_get_their_grace_from_the_keeper() -> None:
    assert values("agent", "KillMode") == ["process"]
    assert "--keeper-service" in values("agent", "ExecStart")[0]
    assert values("keeper", "KillMode") == ["mixed"]
    assert values("keeper", "Delegate") == ["yes"]
    assert values("keeper", "Type") == ["notify"]
    assert float(values("keeper", "TimeoutStopSec")[0]) > SHUTDOWN_GRACE_S + 5.0
    oom = {name: int(values(name, "OOMScoreAdjust")[0]) for name in ("agent", "keeper")}
    assert oom["keeper"] < oom["agent"] < 0


@pytest.mark.parametrize("name", RESTARTED)
def test_a_program_that_ends_is_started_again_for_ever_and_ever_more_slowly(name: str) -> None:
    assert values(name, "Restart") in (["always"], ["on-failure"])
    assert values(name, "StartLimitIntervalSec") == ["0"], "no number of ends is the last"
    (first_s,), (steps,) = values(name, "RestartSec"), values(name, "RestartSteps")
    (most_s,) = values(name, "RestartMaxDelaySec")
    assert int(steps) > 0
    assert float(first_s) < float(most_s) <= 60.0


def test_gpus_are_capped_before_agent_and_keeper_start() -> None:
    before = " ".join(values("cap", "Before")).split()
    assert {"wattline-agent.service", "wattline-keeper.service", "multi-user.target"} <= set(before)
    assert "wattline-keeper.service" in values("agent", "After")[0].split()


@systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """With programs that exist in place of those that an installation brings."""
    for unit in UNITS:
        text = unit.read_text().replace(PREFIX, f"{tmp_path}/bin/")
        (tmp_path / unit.name).write_text(text)
    (tmp_path / "bin").mkdir()
    for program in ("wattline", "python"):
        (tmp_path / "bin" / program).symlink_to("/bin/true")
    copies = [str(tmp_path / unit.name) for unit in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *copies],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if not SINCE_254.search(line)]
    about_ours = [line for line in lines if "wattline" in line]
    assert not about_ours
    assert done.returncode == 0, done.stderr


@systemd
@pytest.mark.parametrize("name", HARDENED)
def test_what_a_service_exposes_stays_within_its_limit(name: str, tmp_path: Path) -> None:
    copy = tmp_path / f"wattline-{name}.service"
    copy.write_text((FOLDER / copy.name).read_text())
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= MAX_EXPOSURE[name]


@systemd
@pytest.mark.parametrize("name", ["wattline.sysusers", "wattline.tmpfiles"])
def test_systemd_takes_users_and_directories(name: str) -> None:
    tool = "systemd-sysusers" if name.endswith("sysusers") else "systemd-tmpfiles"
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    create = [] if name.endswith("sysusers") else ["--create"]
    done = subprocess.run(
        [tool, *create, "--dry-run", str(FOLDER / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = [line for line in done.stderr.splitlines() if "resolve user" not in line]
    assert not [line for line in wrong if name in line], wrong
