"""MIG devices on a real site: found, allocated, visible to their tasks, counted by slices."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.core.telling import are_readopted, reported, write_program
from support.programs.cli_site import CliSite
from wattline_protocol.ids import JobId
from wattline_protocol.views.site_views import GpuView, JobView

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("mig")]

MIB = 2**20


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliSite]:
    """One node: GPU 0 is divided in two, GPU 1 is whole."""
    with CliSite(tmp_path_factory.mktemp("mig")) as made:
        made.start_node("n1", gpus=2, mig=("0=3g.40gb,3g.40gb",))
        made.until(lambda: gpu(made).mig is not None, "the division is known")
        yield made


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return write_program(tmp_path)


def part(site: CliSite, program: Path, name: str) -> str:
    says = str(program.with_name(name))
    return site.submit("--mig", "3g.40gb", "--name", name, "--", sys.executable, str(program), says)


def gpu(site: CliSite) -> GpuView:
    return site.client.node("n1").gpus[0]


def view(site: CliSite, job: str) -> JobView:
    return site.client.job(JobId(int(job)))


def test_two_devices_of_one_gpu_work_at_the_same_time_and_a_third_task_waits(
    site: CliSite, program: Path
) -> None:
    first, second = part(site, program, "first"), part(site, program, "second")
    for job in (first, second):
        site.until_state(job, "RUNNING")
    third = part(site, program, "third")
    whole = site.submit("--gpus", "1", "--", "true")
    site.until_state(whole, "COMPLETED")

    devices = [one.uuid for one in gpu(site).mig or ()]
    said = [reported(site, program, name) for name in ("first", "second")]
    assert sorted(str(one["CUDA_VISIBLE_DEVICES"]) for one in said) == sorted(devices)
    assert [one["limit"] for one in said] == [40_779 * MIB] * 2
    assert [one.job for one in gpu(site).mig or ()] == [int(first), int(second)]
    assert [a.gpus for a in view(site, whole).attempts] == [(1,)]
    site.until_shown("n1: 1 more free MIG 3g.40gb", "explain", third)
    site.until_shown(f"3g.40gb {first}, 3g.40gb {second}", "node", "n1")
    site.until(lambda: (gpu(site).power_w or 0) > 300, "the GPU is busy")
    assert gpu(site).util_pct is None, "the driver measures none in MIG mode"

    site.stop("agent-n1", signal.SIGKILL)
    site.start_agent("n1")
    site.until(lambda: are_readopted(site, first, second), "both are taken over")

    site.wattline("cancel", first)
    site.until_state(third, "RUNNING")
    assert (
        reported(site, program, "third")["CUDA_VISIBLE_DEVICES"] == said[0]["CUDA_VISIBLE_DEVICES"]
    )
    for job in (second, third):
        site.wattline("cancel", job)
        site.until_state(job, "CANCELLED")
    for job in (first, second):
        (attempt,) = view(site, job).attempts
        assert attempt.usage.gpu_s == pytest.approx(attempt.usage.run_s * 0.428, rel=0.01)
        assert attempt.usage.gpu_energy_mj > 0
        assert attempt.mig == "3g.40gb"


def test_what_no_gpu_has_is_refused_with_what_there_is(site: CliSite) -> None:
    done = site.run("submit", "--mig", "1g.10gb", "--", "true")
    assert "no GPU has a MIG device 1g.10gb; the site has 3g.40gb" in done.stderr
    done = site.run("submit", "--gpus", "2", "--", "true")
    assert "no node has more than 1" in done.stderr
    done = site.run("submit", "--mig", "3g.40gb", "--gpu-share", "0.5", "--", "true")
    assert "omit one of them" in done.stderr
