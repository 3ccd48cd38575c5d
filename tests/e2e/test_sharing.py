"""Halves of a GPU on a real site: work side by side, limits handed over, who waits and why."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.core.telling import are_readopted, reported, write_program
from support.programs.cli_site import CliSite
from wattline_protocol.ids import JobId
from wattline_protocol.views.site_views import GpuView

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("sharing")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliSite]:
    """One node with a single GPU."""
    with CliSite(tmp_path_factory.mktemp("sharing")) as made:
        made.start_node("n1", gpus=1)
        yield made


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return write_program(tmp_path)


def half(site: CliSite, program: Path, name: str, *more: str) -> str:
    says = str(program.with_name(name))
    return site.submit(
        "--gpu-share", "0.5", "--name", name, *more, "--", sys.executable, str(program), says
    )


def gpu(site: CliSite) -> GpuView:
    (only,) = site.client.node("n1").gpus
    return only


def test_two_halves_work_on_one_gpu_at_the_same_time_and_a_third_waits(
    site: CliSite, program: Path
) -> None:
    first, second = half(site, program, "first"), half(site, program, "second")
    for job in (first, second):
        site.until_state(job, "RUNNING")
    third = half(site, program, "third")
    whole = site.submit("--gpus", "1", "--", "true")

    said = [reported(site, program, name) for name in ("first", "second")]
    assert said[0] == said[1]
    assert str(said[0]["CUDA_VISIBLE_DEVICES"]).startswith("GPU-")
    assert said[0]["WATTLINE_GPU_SHARE"] == "0.5"
    assert said[0]["limit"] == gpu(site).memory_bytes // 2
    site.until(lambda: (gpu(site).util_pct or 0) > 50, "the GPU is busy")
    assert (gpu(site).job, gpu(site).others) == (int(first), (int(second),))

    site.until_shown("n1: 0.5 of a GPU; none is free", "explain", third)
    site.until_shown("1 more free GPU", "explain", whole)
    site.until_shown(f"{first} (0.5), {second} (0.5)", "node", "n1")
    assert site.json("job", first)["gpu_share_permille"] == 500

    site.stop("agent-n1", signal.SIGKILL)
    site.start_agent("n1")
    site.until(lambda: are_readopted(site, first, second), "both are taken over")

    site.wattline("cancel", first)
    site.until_state(third, "RUNNING")
    assert site.client.job(JobId(int(second))).state == "RUNNING"
    for job in (second, third):
        site.wattline("cancel", job)
    site.until_state(whole, "COMPLETED")

    usage = [site.client.job(JobId(int(job))) for job in (first, second)]
    for view in usage:
        (attempt,) = view.attempts
        assert attempt.usage.gpu_s == pytest.approx(attempt.usage.run_s / 2, rel=0.01)
        assert attempt.usage.gpu_energy_mj > 0


def test_energy_goes_to_the_half_that_works(site: CliSite, program: Path) -> None:
    busy, lazy = half(site, program, "busy"), site.submit("--gpu-share", "0.5", "--", "sleep", "90")
    for job in (busy, lazy):
        site.until_state(job, "RUNNING")
    site.until(lambda: (gpu(site).util_pct or 0) > 50, "the GPU is busy")
    before = _energy_j(site, busy), _energy_j(site, lazy)
    site.until(lambda: _energy_j(site, busy) - before[0] > 2_000, "the busy half used 2 kJ")
    assert _energy_j(site, lazy) - before[1] < 600
    for job in (busy, lazy):
        site.wattline("cancel", job)


def _energy_j(site: CliSite, job: str) -> float:
    (attempt,) = site.client.job(JobId(int(job))).attempts
    return attempt.usage.gpu_energy_mj / 1000


def test_what_no_gpu_can_give_is_refused_with_what_would_fit(site: CliSite) -> None:
    done = site.run("submit", "--gpu-share", "0.5", "--gpu-memory", "50GiB", "--", "true")
    assert "requests 0.5 of a GPU with 50 GiB; the largest has 39.8 GiB" in done.stderr
    done = site.run("submit", "--gpu-share", "0.3333", "--", "true")
    assert "expected whole thousandths; the nearest is 0.333" in done.stderr
    done = site.run("submit", "--gpu-share", "0.5", "--gpus", "2", "--", "true")
    assert "omit one of them" in done.stderr
