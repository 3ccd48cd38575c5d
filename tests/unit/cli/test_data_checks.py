"""`wattline data check` and `wattline data diff` on folders and files."""

import json
from pathlib import Path

import numpy as np
import pytest

from wattline import exits
from wattline.main import run


@pytest.fixture
def versions(tmp_path: Path) -> tuple[str, str]:
    """A set, and one whose column `x[1]` has drifted."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1_000, 2))
    for name, by in (("v1", 0.0), ("v2", 2.0)):
        (tmp_path / name / "part").mkdir(parents=True)
        np.savez(tmp_path / name / "part/digits.npz", x=np.add(x, [0, by]), y=np.arange(1_000) % 10)
        (tmp_path / name / "README").write_text(name)
    return str(tmp_path / "v1"), str(tmp_path / "v2")


def test_a_drifted_column_is_named(
    versions: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = versions
    assert run(["data", "check", old, "--against", old, "--json"]) == exits.OK
    assert json.loads(capsys.readouterr().out) == {"ok": True, "columns": []}
    assert run(["data", "check", new, "--against", old, "--json"]) == exits.FAILED
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert {one["name"] for one in found["columns"]} == {"x[1]"}
    assert {one["rule"]: one["limit"] for one in found["columns"]}["psi"] == 0.25
    assert all(set(one) == {"name", "rule", "value", "limit"} for one in found["columns"])
    assert run(["data", "check", new, "--against", old, "--ignore", "x[1]"]) == exits.OK


def test_rules_of_the_old_version_count(
    versions: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = versions
    loose = 'ignore = ["x[1]"]\n'
    Path(new, "data-checks.toml").write_text(loose)
    assert run(["data", "check", new, "--against", old]) == exits.FAILED
    assert "x[1]" in capsys.readouterr().out
    Path(old, "data-checks.toml").write_text(loose)
    assert run(["data", "check", new, "--against", old]) == exits.OK
    Path(old, "data-checks.toml").write_text("psy = 1\n")
    capsys.readouterr()
    assert run(["data", "check", new, "--against", old]) == exits.USAGE
    assert "data-checks.toml:1: unknown key psy; the nearest is psi" in capsys.readouterr().err


def test_differences_are_shown(
    versions: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "diff", *versions]) == exits.OK
    shown = capsys.readouterr().out
    assert "files: 0 added, 0 removed, 2 changed, 0 equal" in shown
    assert "~ part/digits.npz" in shown
    first = next(line for line in shown.splitlines() if line.startswith("x["))
    assert first.split()[0] == "x[1]"
    assert "significant" in first


@pytest.mark.parametrize(
    ("args", "status", "text"),
    [
        (["check", "nowhere", "--against", "v1"], exits.NOT_FOUND, "nowhere: no such folder"),
        (["check", "v1", "--against", "texts"], exits.FAILED, "texts has nothing to check"),
        (["check", "v1", "--against", "v1", "--psi", "-1"], exits.USAGE, "--psi -1: expected"),
        (["check", "v1", "--against", "v1", "--rows", "5"], exits.USAGE, "--rows 5: expected two"),
        (["check", "v1", "--against", "v1", "--rules", "x"], exits.NOT_FOUND, "x: No such file"),
    ],
    ids=["no folder", "no columns", "limit", "rows", "no rules"],
)
def test_wrong_arguments(
    versions: tuple[str, str],
    args: list[str],
    status: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(Path(versions[0]).parent)
    Path("texts").mkdir()
    Path("texts/a.txt").write_text("a")
    assert run(["data", *args]) == status
    assert text in capsys.readouterr().err
