"""Job scripts: whatever a script says, it is a job that starts, or each error has its line."""

import re
import subprocess

from hypothesis import example, given, settings
from hypothesis import strategies as st

from wattline.slurm.job import ScriptJob, script_job
from wattline.slurm.job_table import Surroundings
from wattline.slurm.options import OPTIONS
from wattline.slurm.start import START
from wattline_protocol.job.file import JobFileError, job_problems

WORDS = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"[a-z0-9%:,=.-]{0,12}", fullmatch=True),
    st.sampled_from(["4", "0", "gpu:h100:4", "1-12:00:00", "0-31:4%2", "%x-%j.out", "afterok:7"]),
)
LINES = st.one_of(
    st.builds("#SBATCH {}".format, st.text(max_size=30)),
    st.builds("#SBATCH --{}={}".format, st.sampled_from([*OPTIONS]), WORDS),
    st.builds("#SBATCH -{} {}".format, st.sampled_from("aAcdDeGHJNnopt"), WORDS),
    st.text(max_size=20),
)


@settings(max_examples=150)
@example(["#SBATCH --error="], [])
@given(st.lists(LINES, max_size=5), st.lists(st.text(max_size=8), max_size=2))
def test_a_script_is_a_job_or_its_errors_are_named(lines: list[str], arguments: list[str]) -> None:
    text = "\n".join(["#!/bin/sh", *lines])
    job: ScriptJob | None = None
    problems: tuple[str, ...] = ("x.sh: none",)
    try:
        job = script_job(text, "x.sh", arguments, Surroundings({}, {"HOME": "/"}, "/data"))
    except JobFileError as error:
        problems = error.problems
    assert problems
    assert all(re.match(r"x\.sh(:\d+)?: ", problem) for problem in problems)
    if job is not None:
        assert job_problems(job.spec) == (), "a scheduler accepts what a client made"
        start = job.spec.env[START]
        assert subprocess.run(["sh", "-n"], input=start.encode(), check=False).returncode == 0
