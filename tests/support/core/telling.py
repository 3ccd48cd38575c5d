"""A task that tells what it was given of GPUs, for tests on real sites."""

import json
from pathlib import Path

from support.programs.cli_site import CliSite
from wattline_protocol.ids import JobId

WORK = """
import json, os, sys
from wattline import task

with open(sys.argv[1] + ".new", "w") as file:
    names = ("CUDA_VISIBLE_DEVICES", "WATTLINE_GPU_SHARE")
    reported = {name: os.environ.get(name) for name in names}
    json.dump({**reported, "limit": task.gpu_memory_limit_bytes()}, file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
while not task.stop_requested():
    sum(range(10_000))
"""
"""It works until a stop notice comes."""


def write_program(folder: Path) -> Path:
    """The program; it is run with the file to write as its argument."""
    path = folder / "work.py"
    path.write_text(WORK)
    return path


def reported(site: CliSite, program: Path, name: str) -> dict[str, object]:
    """What the task that writes beside the program, under this name, was given."""
    says = program.with_name(name)
    site.until(says.exists, f"{name} has said what it was given")
    found: dict[str, object] = json.loads(says.read_text())
    return found


def are_readopted(site: CliSite, *jobs: str) -> bool:
    """Their newest tries run on below an agent that started anew."""
    attempts = [site.client.job(JobId(int(job))).attempts[-1] for job in jobs]
    return all(attempt.state == "RUNNING" and attempt.readopted == 1 for attempt in attempts)
