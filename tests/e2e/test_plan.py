"""A planning cycle of a running site is saved, and planned again without it."""

import json
from pathlib import Path

import pytest

from support.programs.cli_site import CliSite

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_saved_cycle_has_the_placements_of_the_site(tmp_path: Path) -> None:
    with CliSite(tmp_path) as site:
        site.start_node("n1")
        job = site.submit("--gpus", "5", "--", "sleep", "600")
        site.until_state(job, "RUNNING")
        waits = site.submit("--gpus", "8", "--", "true")
        site.until(lambda: site.json("job", waits)["reason"], "the second job was evaluated")
        file = str(tmp_path / "cycle.bin")
        assert f"saved the newest planning cycle to {file}" in site.wattline("plan", "--save", file)

    site.environ["WATTLINE_BUNDLE"] = str(tmp_path / "none.toml")
    planned = json.loads(site.wattline("plan", "--snapshot", file, "--json"))
    assert planned["is_same"]
    assert planned["nodes"] == 1
    assert [one["job"] for one in planned["waits"]] == [int(waits)]
    shown = site.wattline("plan", "--snapshot", file).split("\n")
    assert ["as", "the", "scheduler", "planned", "yes"] in [line.split() for line in shown]


def test_a_submitter_may_not_save_a_cycle(tmp_path: Path) -> None:
    with CliSite(tmp_path) as site:
        site.start_node("n1")
        bundle = str(tmp_path / "sam.toml")
        site.wattline(
            "enroll", "sam", "--role", "submitter", "--site", str(site.site), "--out", bundle
        )
        done = site.run("plan", "--save", str(tmp_path / "cycle.bin"), "--bundle", bundle)
        assert done.returncode != 0
        assert "only operators may save a planning cycle; you are submitter" in done.stderr
        assert not (tmp_path / "cycle.bin").exists()
