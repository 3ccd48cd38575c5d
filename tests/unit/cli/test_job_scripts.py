"""Job scripts: `#SBATCH` lines as keys of a job file, and how the script starts on a node."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from wattline.acts.submit import job_spec
from wattline.slurm.job import ScriptJob, script_job
from wattline.slurm.job_table import Surroundings
from wattline.slurm.options import OPTIONS
from wattline.slurm.script import MAX_SCRIPT_BYTES, Directive, is_script, read_script
from wattline_protocol.job.file import JobFileError, job_problems
from wattline_protocol.job.spec import CountRange, JobSpec

TASK = {
    "WATTLINE_JOB": "12",
    "WATTLINE_JOB_NAME": "train.sh",
    "WATTLINE_NODES": "1",
    "WATTLINE_NODE_RANK": "0",
    "WATTLINE_NODE": "n1",
    "WATTLINE_ATTEMPT": "1",
    "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b",
}
"""What an agent sets."""


def script(*lines: str, then: str = "true") -> str:
    return "\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines), then, ""])


def job_of(text: str, *arguments: str, **flags: object) -> ScriptJob:
    around = Surroundings(flags, {"HOME": "/users/ada"}, "/data/ada")
    return script_job(text, "train.sh", arguments, around)


def spec_of(*lines: str, **flags: object) -> JobSpec:
    return job_of(script(*lines), **flags).spec


def refused(text: str, **flags: object) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        job_of(text, **flags)
    return list(caught.value.problems)


def directives(*lines: str) -> list[tuple[str, str]]:
    return [(d.option, d.value) for d in read_script(script(*lines)).directives]


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("--nodes=2", [("nodes", "2")]),
        ("--nodes 2 -p day", [("nodes", "2"), ("partition", "day")]),
        ("-N2 -t 1:00 # for now", [("nodes", "2"), ("time", "1:00")]),
        ("--job-name=\"a b\" -D '/x y'", [("job-name", "a b"), ("chdir", "/x y")]),
        (r"-J a\ b", [("job-name", "a b")]),
        ("--job-n=x", [("job-name", "x")]),
        ("-HJ x", [("hold", ""), ("job-name", "x")]),
        ("--exclusive --nice=5 --nice", [("exclusive", ""), ("nice", "5"), ("nice", "")]),
        ("", []),
    ],
)
def test_a_directive_is_read_as_sbatch_reads_it(line: str, read: list[tuple[str, str]]) -> None:
    assert directives(line) == read


def test_only_lines_before_the_first_command_are_directives() -> None:
    text = (
        "#!/bin/sh\n\n##SBATCH -N9\n# SBATCH -N8\n #SBATCH -N7\n#SBATCH -N2\n\ndate\n#SBATCH -N3\n"
    )
    read = read_script(text)
    assert read.directives == (Directive(6, "nodes", "2"),)
    assert read.unread == (9,)
    assert "line 9" in job_of(text).hints[0]


@pytest.mark.parametrize(
    ("lines", "key", "value"),
    [
        (["--job-name=resnet"], "name", "resnet"),
        (["-p night"], "queue", "night"),
        (["-A vision"], "account", "vision"),
        (["-t 90"], "limits.runtime_s", 5400),
        (["-t 1-12"], "limits.runtime_s", 129_600),
        (["-t UNLIMITED"], "limits.runtime_s", 0),
        (["-N 2-4", "--gpus-per-node=1"], "resources.nodes", CountRange(2, 4)),
        (["-N 2", "-n 2"], "resources.nodes", 2),
        ([], "resources.gpus_per_node", 0),
        (["--gres=gpu:2"], "resources.gpus_per_node", 2),
        (["--gres=gpu:h100:4"], "resources.gpu_type", ("h100",)),
        (["--gres=gpu"], "resources.gpus_per_node", 1),
        (["--gres=gpu:3g.40gb:1"], "resources.mig", "3g.40gb"),
        (["-N 2 -G a100:8"], "resources.gpus_per_node", 4),
        (["-G 2", "-c 16"], "resources.cpus_per_gpu", 8),
        (["--mem=200G"], "resources.memory_bytes", 200 << 30),
        (["--mem=512"], "resources.memory_bytes", 512 << 20),
        (["-G 2", "--mem-per-gpu=40G"], "resources.memory_bytes", 80 << 30),
        (["-G 2 -c 8", "--mem-per-cpu=4G"], "resources.memory_bytes", 32 << 30),
        (["--contiguous"], "resources.same_rack", True),
        (["--container-image=nvcr.io/nvidia/pytorch:24.11-py3"], "launch.how", "container"),
        (["-H"], "hold", True),
        (["-D sub/../logs"], "workdir", "/data/ada/logs"),
        (["-d afterok:17:18,afterany:9"], "after_ok", (17, 18)),
        (["-d afterany:9"], "after_any", (9,)),
        (["--export=NONE"], "queue", "default"),
        (["--mail-user=ada@example.org --mail-type=END,FAIL"], "notify.on", ("end", "fail")),
        (["--mail-user=ada@example.org", "--mail-type=all"], "notify.to", "ada@example.org"),
        (["--mail-user=ada@example.org"], "notify.to", ""),
        (["--requeue --ignore-pbs --wait-all-nodes=1 --mail-type=NONE"], "queue", "default"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_directives_become_keys(lines: list[str], key: str, value: object) -> None:
    found: object = spec_of(*lines)
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value


def test_an_array_with_a_step() -> None:
    array = spec_of("-a 0-30:10%2").array
    assert array is not None
    assert (array.indices, array.at_a_time) == ((0, 10, 20, 30), 2)


def test_the_last_of_equal_options_counts_and_flags_before_all() -> None:
    spec = spec_of("-N 2", "-N 3", "-G 6", "-c 8", nodes="1", gpus=4, time="2h", env=["A=1"])
    assert (spec.resources.nodes, spec.resources.gpus_per_node) == (1, 4)
    assert (spec.resources.cpus_per_gpu, spec.limits.runtime_s) == (2, 7200)
    assert spec.env["A"] == "1"


def test_a_flag_for_gpus_takes_the_place_of_all_directives_for_gpus() -> None:
    mig = spec_of("--gres=gpu:h100:4", "--gpus-per-node=4", mig="1g.10gb").resources
    assert (mig.mig, mig.gpus_per_node, mig.gpu_type) == ("1g.10gb", 1, ("h100",))
    assert spec_of("-G 4", gpu_share=0.5).resources.gpu_share_permille == 500
    whole = spec_of("--gres=gpu:1g.10gb", gpus=2).resources
    assert (whole.mig, whole.gpus_per_node) == ("", 2)


def test_memory_per_cpu_counts_the_cpus_of_flags() -> None:
    spec = spec_of("-G 4", "--cpus-per-gpu=2", "--mem-per-cpu=1G", cpus_per_gpu=4)
    assert spec.resources.memory_bytes == 16 << 30


def test_exported_variables_are_those_that_are_named() -> None:
    spec = spec_of("--export=SEED=1,HOME")
    assert {name: spec.env[name] for name in ("SEED", "HOME")} == {
        "SEED": "1",
        "HOME": "/users/ada",
    }
    assert set(spec.env) == {"SEED", "HOME", "JOB_SCRIPT", "JOB_START"}


def test_all_that_is_wrong_is_reported_at_once_with_its_line() -> None:
    text = script(
        "--nodes=0 --mail-type=END,TIME_LIMIT_80",
        "--ntasks-per-node=8",
        "--partitoin=x",
        "--comment='open",
        "--output=%s.out -t 99x",
        "--gres=gpu:2,ssd:1 --export=ALL",
        "-c 2 --dependency=singleton stray",
        then="cd /x && srun python train.py\n# srun\nA=$(scontrol show hostnames)",
    )
    found = refused(text)
    said = {int(line.split(":")[1]): line for line in found}
    assert {int(line.split(":")[1]) for line in found} == {2, 3, 4, 5, 6, 7, 8, 9, 11}
    assert any("--mail-type=TIME_LIMIT_80 has no counterpart: use one of NONE" in p for p in found)
    assert any("--mail-type=END,TIME_LIMIT_80: add --mail-user=ADDRESS" in p for p in found)
    assert "--ntasks-per-node=8: each node runs the script once" in said[3]
    assert "the nearest is --partition" in said[4]
    assert "No closing quotation" in said[5]
    assert any("%s has no counterpart" in p for p in found)
    assert any('limits.runtime = "99x": expected a duration' in p for p in found)
    assert "srun: there are no job steps" in said[9]
    assert "scontrol: use wattline job" in said[11]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("#!/bin/sh\r\ndate\r\n", "1: has DOS line ends"),
        ("#!\ndate\n", "1: names no interpreter"),
        ("#!/bin/sh\n" + "x" * MAX_SCRIPT_BYTES, "a script has at most 57344"),
        (script("-N 2 -G 3"), "a number in all does not divide"),
        (script("-G 3 -c 8"), "--cpus-per-task=8 does not divide among 3 GPUs: use --cpus-per-gpu"),
        (script("-c 4"), "a job without GPUs gets one CPU"),
        (script("--mem=0"), "without it there is no limit"),
        (script("--gres=gpu:2 --gpus=3"), "another option says 2"),
        (script("--gres=shard:1"), "--gpu-share 0.5"),
        (script("-N 2 -o x.out"), "each node writes its own file: add %n"),
        (script("--export=NOT_HERE"), "NOT_HERE is not set here"),
        (script("hetjob"), "submit two jobs"),
        (script("-p"), "train.sh:2: -p requires a value"),
        (script("--array=0-3:0"), "has the step 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, what: str) -> None:
    assert any(what in problem for problem in refused(text)), refused(text)


def test_a_module_needs_a_login_shell() -> None:
    body = "module load cuda\ntrue\n"
    assert "#!/bin/bash -l" in job_of(f"#!/bin/bash\n{body}").hints[0]
    assert job_of(f"#!/bin/bash -el\n{body}").hints == ()


def test_a_python_script_may_name_srun() -> None:
    assert job_of("#!/usr/bin/env python3\n#SBATCH -N 1\nsrun = 1\n").spec.name == "train.sh"


def test_only_what_begins_as_a_script_is_one() -> None:
    assert is_script("#!/bin/sh\n", "a")
    assert not is_script("#!/bin/sh\n", "a.toml")
    assert not is_script("date\n", "a.sh")


def test_a_script_is_read_where_a_job_file_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.sh").write_text(script("-G 1", then="echo $SLURM_JOB_NODELIST"))
    spec = job_spec("train.sh", ("--lr", "1"), {"gpus": 2})
    assert spec.command[3:] == ("train.sh", "--lr", "1")
    assert spec.submit_dir == str(tmp_path)
    assert spec.resources.gpus_per_node == 2
    assert "not set: SLURM_JOB_NODELIST" in capsys.readouterr().err
    assert job_problems(spec) == (), "a scheduler accepts it"
    Path("plain.sh").write_text("date\n")
    with pytest.raises(JobFileError, match=r"wattline submit -- bash plain\.sh"):
        job_spec("plain.sh", (), {})


def run(spec: JobSpec, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """As on a node."""
    task = folder / "task"
    task.mkdir()
    environ = {"PATH": os.environ["PATH"], "WATTLINE_TASK_DIR": str(task), **TASK, **more}
    return subprocess.run(
        spec.command, env=environ | dict(spec.env), cwd=folder, capture_output=True, text=True
    )


def test_a_script_runs_as_it_was_submitted(tmp_path: Path) -> None:
    body = 'echo "$0|$1|$2|${JOB_SCRIPT-none}"; env | grep ^SLURM | sort; exit 7'
    spec = job_of(script("-G 2 -n 1 -a 7", then=body), "a b", "$(x)").spec
    done = run(spec, tmp_path, WATTLINE_ARRAY_INDEX="7", OMP_NUM_THREADS="4")
    first, *variables = done.stdout.splitlines()
    assert done.returncode == 7, done.stderr
    assert first == f"{tmp_path}/task/train.sh|a b|$(x)|none"
    found = dict(line.split("=", 1) for line in variables)
    assert found["SLURM_JOB_ID"] == "12.7"
    assert (found["SLURM_ARRAY_JOB_ID"], found["SLURM_ARRAY_TASK_ID"]) == ("12", "7")
    assert (found["SLURM_GPUS_ON_NODE"], found["SLURM_NTASKS"]) == ("2", "1")
    assert found["SLURM_SUBMIT_DIR"] == "/data/ada"
    assert "SLURM_CPUS_PER_TASK" not in found, "not requested"
    page = (Path(__file__).parents[3] / "docs/from-slurm.md").read_text(encoding="utf-8")
    section = page.split("## Job scripts")[1].split("\n## ")[0]
    named = set(re.findall(r"`(SLURM\w+)`", section))
    suffixed = {"SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX"}
    not_set = {"SLURM_CPUS_PER_TASK", "SLURM_JOB_NODELIST"}
    assert set(found) == named - not_set | suffixed, "the page lists those that are set"


@pytest.mark.parametrize("interpreter", ["/bin/bash -eu", "/usr/bin/env python3"])
def test_the_interpreter_is_that_of_the_first_line(tmp_path: Path, interpreter: str) -> None:
    body = "print(6 * 7)" if "python" in interpreter else "echo 42; false; echo no"
    done = run(job_of(f"#!{interpreter}\n{body}\n").spec, tmp_path)
    assert done.stdout == "42\n"


def test_output_goes_to_the_files_of_the_script(tmp_path: Path) -> None:
    lines = ["--output='it'\\''s %x-%j.out'", "--error=%A.err", "--open-mode=append"]
    spec = job_of(script(*lines, then="echo out; echo err >&2")).spec
    (tmp_path / "12.err").write_text("before\n")
    done = run(spec, tmp_path)
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "the script writes to it's train.sh-12.out",
        "the script writes to 12.err",
    ]
    assert (tmp_path / "it's train.sh-12.out").read_text() == "out\n"
    assert (tmp_path / "12.err").read_text() == "before\nerr\n"


def test_one_file_has_both_streams(tmp_path: Path) -> None:
    run(job_of(script("-o both", then="echo out; echo err >&2")).spec, tmp_path)
    assert (tmp_path / "both").read_text() == "out\nerr\n"


def test_every_option_has_a_row_in_the_page() -> None:
    page = (Path(__file__).parents[3] / "docs/from-slurm.md").read_text(encoding="utf-8")
    section = page.split("## Options of sbatch\n")[1].split("\n## ")[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("|")]
    listed = set(re.findall(r"`--([a-z-]+)", "".join(rows)))
    assert listed - OPTIONS.keys() == set()
    assert OPTIONS.keys() - listed == {"extra-node-info"}, "the page has -B"
