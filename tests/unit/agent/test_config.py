"""Options of the agent, its check, and what it imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wattline_agent.__main__ import main
from wattline_agent.check import run_checks
from wattline_agent.config import AgentConfig, BadConfig, config_of, parse_gpus, parser
from wattline_agent.daemon import cache_config
from wattline_protocol.text.checklist import check_text, has_failed

MAX_START_RSS_MIB = 60


def test_gpus_as_a_list_of_ranges() -> None:
    assert parse_gpus("0-3,6") == {0, 1, 2, 3, 6}


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-2", "0-9999", "1.5"])
def test_gpus_that_make_no_sense(text: str) -> None:
    with pytest.raises(BadConfig):
        parse_gpus(text)


def test_a_bundle_is_needed_to_run_and_not_to_check() -> None:
    with pytest.raises(BadConfig, match="wattline enroll"):
        config_of(parser().parse_args([]))
    assert config_of(parser().parse_args(["--check"])).bundle is None


def test_a_library_that_is_not_there_is_named(tmp_path: Path) -> None:
    options = parser().parse_args(["--check", "--nvml-lib", str(tmp_path / "none.so")])
    with pytest.raises(BadConfig, match=r"none\.so is not a file"):
        config_of(options)


def test_a_missing_bundle_is_a_configuration_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--bundle", str(tmp_path / "no.toml"), "--state-dir", str(tmp_path)]) == 78
    assert "no.toml" in capsys.readouterr().err


def test_the_check_says_what_to_do_where_nothing_works(tmp_path: Path) -> None:
    checks = run_checks(AgentConfig(bundle=None, state_dir=tmp_path / "s", sysfs_root=tmp_path))
    by_name = {check.name: check for check in checks}
    assert {"node power", "inlet", "cgroup v2", "state", "keeper", "clock", "keys"} <= set(by_name)
    assert by_name["state"].verdict == "ok"
    assert all(check.remedy for check in checks if check.verdict != "ok")
    text = check_text(checks)
    assert len(text.splitlines()) >= len(checks)
    assert has_failed(checks) == any(check.verdict == "failed" for check in checks)


def test_the_check_names_a_bundle_that_cannot_be_used(tmp_path: Path) -> None:
    bundle = tmp_path / "n1.toml"
    bundle.write_text("not a bundle")
    bundle.chmod(0o600)
    checks = run_checks(AgentConfig(bundle=bundle, state_dir=tmp_path / "s", sysfs_root=tmp_path))
    (keys,) = [check for check in checks if check.name == "keys"]
    assert keys.verdict == "failed"


def test_the_check_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--check", "--json", "--state-dir", str(tmp_path / "s"), "--sysfs-root", str(tmp_path)])
    rows = json.loads(capsys.readouterr().out)
    assert {"name", "verdict", "found", "remedy"} == set(rows[0])


def test_the_agent_imports_nothing_heavy() -> None:
    code = (
        "import sys, wattline_agent.daemon\n"
        "heavy = {'torch', 'numpy', 'textual', 'sqlite3', 'click'} & set(sys.modules)\n"
        "rss = next(l for l in open('/proc/self/status') if l.startswith('VmRSS'))\n"
        "print(sorted(heavy), int(rss.split()[1]) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, rss_mib = done.stdout.rsplit(maxsplit=1)
    assert heavy == "[]"
    assert int(rss_mib) < MAX_START_RSS_MIB


def test_the_cache_is_where_the_fetch_process_finds_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That process is a child of the keeper, in another directory than the agent's."""
    monkeypatch.chdir(tmp_path)
    below = AgentConfig(None, Path("n1"), cache_dir=None)
    given = AgentConfig(None, Path("n1"), cache_dir=Path("fast"))
    assert cache_config(below).path == tmp_path / "n1" / "cache"
    assert cache_config(given).versions == tmp_path / "fast" / "versions"
