"""Job files, flags and keywords: what is read, and how each mistake is reported."""

from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest

from wattline_protocol.job.file import (
    MAX_JOB_CHARS,
    JobFileError,
    format_job,
    job_from_options,
    job_problems,
    parse_job,
)
from wattline_protocol.job.keys import BY_NAME, JOB_KEYS
from wattline_protocol.job.spec import (
    ArraySpec,
    IdleRule,
    JobSpec,
    Launch,
    Limits,
    Resources,
    Windows,
)

FULL = """\
name = "resnet"
kind = "training"
command = ["python", "train.py"]
queue = "research"
account = "vision"
priority = "high"
array = "0-3,9%2"
workdir = "/data/run1"
hold = true
after_ok = [17, 18]
after_any = 19
[resources]
nodes = 2
gpus_per_node = 4
gpu_type = ["h100", "a100"]
gpu_memory_min = "40GiB"
cpus_per_gpu = 8
memory = "200GiB"
same_rack = true
labels = { fabric = "ib", zone = "b" }
[power]
watts_per_gpu = 650
[limits]
runtime = "12h"
energy = "80kWh"
cost = "400USD"
idle_gpu = { below = 0.05, for = "30m", action = "stop" }
[windows]
start_only = ["Mon-Fri 20:00-06:00", "Sat-Sun"]
deadline = 2026-12-01T08:00:00
[recovery]
retries = 3
checkpoint_every = "15m"
grace = "60s"
on_isolation = "stop"
[env]
SEED = "1"
WATTLINE_SIM_PROFILE = "training-hot"
[launch]
how = "torchrun"
procs_per_node = 4
"""


def refused(text: str) -> tuple[str, ...]:
    with pytest.raises(JobFileError) as caught:
        parse_job(text, "job.toml")
    return caught.value.problems


def refused_options(**options: Any) -> tuple[str, ...]:
    with pytest.raises(JobFileError) as caught:
        job_from_options(**options)
    return caught.value.problems


def test_every_key_that_acts_is_read() -> None:
    job = parse_job(FULL, "job.toml")
    assert job.array == ArraySpec((0, 1, 2, 3, 9), 2)
    assert job.priority == 75
    assert job.resources == Resources(
        nodes=2,
        gpus_per_node=4,
        gpu_type=("h100", "a100"),
        gpu_memory_min_bytes=40 << 30,
        cpus_per_gpu=8,
        memory_bytes=200 << 30,
        same_rack=True,
        labels={"fabric": "ib", "zone": "b"},
    )
    assert job.power.watts_per_gpu == 650
    idle = IdleRule(0.05, 1800, "stop")
    assert job.limits == Limits(43_200, energy_wh=80_000, cost_usd=400, idle_gpu=idle)
    assert job.windows == Windows(("Mon-Fri 20:00-06:00", "Sat-Sun"), "2026-12-01T08:00:00")
    assert job.recovery.checkpoint_every_s == 900
    assert job.recovery.on_isolation == "stop"
    assert job.env["WATTLINE_SIM_PROFILE"] == "training-hot"
    assert job.launch == Launch("torchrun", 4)
    assert job.hold
    assert (job.after_ok, job.after_any) == ((17, 18), (19,))
    assert job.parents == (17, 18, 19)
    assert parse_job(format_job(job), "again") == job


def test_a_mig_profile_is_read_and_written() -> None:
    job = job_from_options(command="x", mig="3G.40GB")
    assert job.resources == Resources(mig="3g.40gb")
    assert parse_job(format_job(job), "again") == job
    for profile in ("1c.3g.40gb", "1g.10gb+me", "1g.24gb-me", "7g.141gb"):
        assert job_from_options(command="x", mig=profile).resources.mig == profile


def test_a_command_is_enough() -> None:
    job = parse_job("command = \"python  score.py --name 'a b'\"", "job.toml")
    assert job == JobSpec(name="python", command=("python", "score.py", "--name", "a b"))


@pytest.mark.parametrize(
    ("program", "name"),
    [("/usr/bin/env", "env"), ("./train model.py", "train-model.py"), ("..", "job"), ("ä", "job")],
)
def test_a_job_without_a_name_is_named_after_its_program(program: str, name: str) -> None:
    assert job_from_options(command=[program]).name in (name, "-", name.strip("-"))


@pytest.mark.parametrize("key", JOB_KEYS, ids=lambda k: k.path)
def test_the_example_of_every_key_is_right(key: Any) -> None:
    needed = {
        "notify_on": 'notify = "ada@example.org"\n',
        "launch.procs_per_node": 'how = "torchrun"\n',
        "launch.interface": 'how = "torchrun"\n',
        "launch.image": 'how = "container"\n',
        "data.check": 'datasets = ["digits@v3"]\n',
        "data.outputs": 'store_secret = "store"\n',
        "data.store_secret": 'outputs = ["checkpoints/"]\n',
        "data.makes_model": 'makes = "net"\n',
        "service.idle_to_zero": 'slo.p95 = "1s"\nfallback = "small"\n',
    }.get(key.path, "")
    kind = 'name = "s"\nkind = "service"\n' if key.table == "service" else ""
    head = f"[{key.table}]\n" if key.table else ""
    command = "" if key.name == "command" else 'command = ["x"]\n'
    parse_job(f"{command}{kind}{head}{needed}{key.name} = {key.example}\n", "x")


def test_no_two_tables_share_a_key() -> None:
    assert len(BY_NAME) == len(JOB_KEYS)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gpus_per_node = 1", "unknown key gpus_per_node; it belongs to [resources]"),
        ("comand = []", "unknown key comand; the nearest is command"),
        ("gpus_per_nod = 1", "the nearest is gpus_per_node of [resources]"),
        ("zzzzzzz = 1", "unknown key zzzzzzz; keys here are "),
        ("resources.gpus = 2", "unknown key resources.gpus; write resources.gpus_per_node"),
        ('time = "2h"', "unknown key time; write limits.runtime"),
        ('resources.labels = ["ib", 1]', 'resources.labels = ["ib", 1]: expected a table'),
        (
            "resources.nodes = { a = true }",
            "resources.nodes = { a = true }: expected a whole number",
        ),
        ('resources.nodes = "two"', 'resources.nodes = "two": expected a number from 1 to 4096'),
        ("resources.nodes = 0", "expected a whole number from 1 to"),
        ("resources.nodes = true", "expected a whole number from 1 to"),
        ("resources = 3", "resources = 3: expected a table"),
        ('resources.memory = "200"', 'expected a size such as "40GiB"'),
        ("resources.memory = 200", 'expected a size such as "40GiB"'),
        ('resources.memory = "0B"', "must be above 0; omit it for none"),
        ("resources.gpu_type = []", "expected a list of 1 to 16 texts"),
        ("resources.same_rack = 1", "expected true or false"),
        ('resources.labels = "ib"', 'expected a table such as { fabric = "ib" }'),
        ('resources.labels = { fabric = "" }', 'fabric: "" is not a valid name'),
        ("resources.labels = { fabric = 1 }", "fabric: expected text in quotes"),
        ('limits.runtime = "12"', 'expected a duration such as "90s"'),
        ('limits.energy = "80kW"', 'expected an energy such as "80kWh"'),
        ('limits.cost = "400"', 'expected a cost such as "400USD"'),
        ("limits.idle_gpu = { below = 0.1 }", "expected { below = 0.05"),
        (
            'limits.idle_gpu = { below = 0.1, for = "x", action = "stop" }',
            "for: expected a duration",
        ),
        (
            'limits.idle_gpu = { below = 0.1, for = "0s", action = "stop" }',
            "for: must be above 0",
        ),
        (
            'limits.idle_gpu = { below = 0.1, for = "1m", action = "pause" }',
            "action: expected one of stop, warn",
        ),
        ('limits.energy = "0kWh"', "must be above 0"),
        ('service.cache = { ttl = "5m" }', 'expected { ttl = "5m", size = "256MiB" }'),
        ('service.cache = { ttl = "5", size = "1MiB" }', "ttl: expected a duration"),
        ('service.cache = { ttl = "0s", size = "1MiB" }', "ttl: must be above 0"),
        ('service.cache = { ttl = "60d", size = "1MiB" }', "at most 30 days"),
        ('service.cache = { ttl = "5m", size = "1KiB" }', "size: must be from 64KiB to 16GiB"),
        ('service.cache = { ttl = "5m", size = "big" }', "size: expected a size"),
        ("service.fallback = []", "expected a list of 1 to 8 texts"),
        ('service.fallback = ["static:{"]', 'after "static:" expected JSON'),
        ('service.fallback = ["a/b"]', "not a valid name"),
        ('service.fallback = ["small", "small"]', "each entry may occur once"),
        ('resources.mig = "3g40gb"', 'expected a MIG profile such as "3g.40gb"'),
        ("resources.gpu_share = 1.5", "expected a number above 0, up to 1"),
        ("resources.gpu_share = 0", "above 0"),
        ("resources.gpu_share = nan", "expected a number above 0, up to 1"),
        ("resources.gpu_share = 0.3333", "expected whole thousandths; the nearest is 0.333"),
        ("resources.gpu_share = 0.0001", "the nearest is 0.001"),
        ('windows.start_only = "Mon-Fri 20-06"', 'windows such as "Mon-Fri 20:00-06:00"'),
        ('windows.start_only = "Mon 06:00-06:00"', "never opens"),
        ('windows.deadline = "soon"', 'expected a time such as "2026-12-01T08:00"'),
        ('data.datasets = ["imagenet"]', "expected NAME@VERSION"),
        ('data.check = "strict"', "name some in data.datasets"),
        ('data.outputs = ["out/"]', 'only "checkpoints/" can be kept'),
        ("after_ok = [0]", "expected job numbers"),
        ("after_ok = []", "expected 1 to 1000 job numbers"),
        ("after_ok = [true]", "expected job numbers"),
        ("after_ok = [17, 17]", "expected each job number once"),
        ('after_any = "17, x"', "expected job numbers"),
        ('name = "a/b"', "not a valid name"),
        ('name = "a\\u0001b"', "control characters"),
        ("name = 3", "expected text in quotes"),
        ('kind = "traning"', 'did you mean "training"?'),
        ('priority = "norml"', 'did you mean "normal"?'),
        ("priority = 101", "a whole number from 0 to 100"),
        ('workdir = "run1"', "expected an absolute path"),
        ('array = "5-1"', "5-1 is not a range"),
        ('array = "0-31%0"', "8 at a time"),
        ('array = "1,1"', "repeats an index"),
        ('array = "0-10000"', "at most 10000 indices"),
        ('array = ""', "expected indices such as"),
        ("array = [1, 2]", "expected indices such as"),
        ('env = { "A-B" = "1" }', "not a name of a variable"),
        ("env.SEED = 1", 'SEED requires its value in quotes, as in SEED = "1"'),
        ('env.WATTLINE_JOB = "1"', "WATTLINE_JOB is set by Wattline itself"),
        ('env.CUDA_VISIBLE_DEVICES = "0"', "set by Wattline itself"),
        ('secrets.KEY = "a value!"', "secrets: KEY: not the name of an entry"),
        ('launch.how = "torchrn"', 'did you mean "torchrun"?'),
    ],
)
def test_what_is_wrong_is_told_with_line_and_remedy(line: str, said: str) -> None:
    problems = refused(f'command = ["x"]\n# a comment\n{line}\n')
    assert len(problems) == 1
    assert problems[0].startswith("job.toml:3: ")
    assert said in problems[0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('""', "expected at least the program"),
        ("[]", "expected at least the program"),
        ("[1]", "expected a list of words"),
        ('"a | b"', 'no shell runs this, so "|" has no meaning; use ["sh", "-c"'),
        ('"a > b"', 'no shell runs this, so ">"'),
        ('"a \'b"', "cannot be split into words: No closing quotation"),
        ('["a\\u0000b"]', "NUL"),
    ],
)
def test_commands_that_cannot_be_run(value: str, said: str) -> None:
    [problem] = refused(f"command = {value}")
    assert problem.startswith("job.toml:1: command")
    assert said in problem


@pytest.mark.parametrize(
    ("lines", "at", "said"),
    [
        ("service.replicas = 2", 2, '[service] is for kind = "service"'),
        ('name = "s"\nkind = "service"\narray = "1-3"', 4, "replicas and no array"),
        (
            'name = "s"\nkind = "service"\nwindows.deadline = 2026-12-01T08:00:00',
            4,
            "it cannot have a deadline",
        ),
        (
            'name = "s"\nkind = "service"\nresources.nodes = 2',
            4,
            "a replica of a service runs on one node",
        ),
        ('name = "s"\nkind = "service"\nservice.fallback = ["cache"]', 4, '"cache" needs a cache'),
        ('name = "a"\nkind = "service"\nservice.fallback = ["a"]', 4, "no fallback of itself"),
        (
            'name = "s"\nkind = "service"\nlaunch.how = "torchrun"',
            4,
            "a service's worker is one process",
        ),
        ("launch.procs_per_node = 2", 2, 'procs_per_node is for how = "torchrun"'),
        ('resources.gpus_per_node = 0\nlaunch.how = "torchrun"', 3, "set procs_per_node"),
        ('resources.gpus_per_node = 0\nresources.gpu_type = "h100"', 3, "gpus_per_node is 0"),
        ('resources.nodes = 1000\narray = "0-99"', 3, "100000 tasks; a job has at most 10000"),
    ],
)
def test_keys_that_contradict_each_other(lines: str, at: int, said: str) -> None:
    [problem] = refused(f'command = ["x"]\n{lines}\n')
    assert problem.startswith(f"job.toml:{at}: ")
    assert said in problem


def test_all_problems_are_told_in_the_order_of_the_file() -> None:
    problems = refused('nam = "x"\n[resources]\nnodes = 0\n[limits]\nruntme = "1h"\n')
    assert [p.split(": ")[0] for p in problems] == ["job.toml:1"] * 2 + ["job.toml:3", "job.toml:5"]
    assert any("command is missing" in p for p in problems)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = \n", "job.toml:1: not valid TOML"),
        ('ok = 1\nname = "x', "job.toml:2: not valid TOML"),
        ("a = 1\na = 2", "job.toml:2: not valid TOML"),
        ("a = [", "job.toml:1: not valid TOML"),
        ("x = " + "[" * 100_000, "nested too deeply"),
        ("#" * (MAX_JOB_CHARS + 1), "not a job file"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(text: str, said: str) -> None:
    assert said in refused(text)[0]


def test_very_many_problems_are_cut() -> None:
    problems = refused("".join(f"k{at} = 1\n" for at in range(200)))
    assert len(problems) == 51
    assert problems[-1] == "and 151 more"


# --- Options ----------------------------------------------------------------------------


def test_flags_and_the_file_are_one_path() -> None:
    options = job_from_options(
        name="resnet",
        command=("python", "train.py"),
        kind="training",
        queue="research",
        account="vision",
        priority="75",
        array="0-3,9%2",
        workdir="/data/run1",
        hold=True,
        after_ok="17,18",
        after_any=("19",),
        nodes=2,
        gpus=4,
        gpu_type=("h100", "a100"),
        gpu_memory="40GiB",
        cpus_per_gpu=8,
        memory="200GiB",
        same_rack=True,
        label=("fabric=ib", "zone=b"),
        watts_per_gpu=650,
        time="12h",
        energy="80kWh",
        cost="400USD",
        idle_gpu="below=0.05, for=30m, action=stop",
        start_only=("Mon-Fri 20:00-06:00", "Sat-Sun"),
        deadline="2026-12-01T08:00",
        retries=3,
        checkpoint_every="15m",
        grace="60s",
        on_isolation="stop",
        env=("SEED=1", "WATTLINE_SIM_PROFILE=training-hot"),
        torchrun=True,
        procs_per_node=4,
    )
    assert options == parse_job(FULL, "job.toml")


def test_options_win_over_the_file_and_add_to_its_environment() -> None:
    job = parse_job(FULL, "job.toml", nodes=4, env={"MORE": "2", "SEED": "9"}, priority=3)
    assert job.resources.nodes == 4
    assert job.resources.gpus_per_node == 4
    assert job.priority == 3
    assert (job.env["SEED"], job.env["MORE"]) == ("9", "2")
    assert "WATTLINE_SIM_PROFILE" in job.env


def test_job_numbers_may_be_text_as_flags_give_it() -> None:
    assert job_from_options(command=["x"], after_ok="17, 18").after_ok == (17, 18)


def test_options_that_are_not_given_change_nothing() -> None:
    job = parse_job(FULL, "job.toml", name=None, gpu_type=(), hold=False, queue="", env=[])
    assert job == parse_job(FULL, "job.toml")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpsu": 1}, "--gpsu: no such option; the nearest is --gpus"),
        ({"gpus": 2.5}, "--gpus: resources.gpus_per_node = 2.5: expected a whole number"),
        ({"gpu_memory": "40"}, "--gpu-memory: resources.gpu_memory_min"),
        ({"time": "12"}, "--time: limits.runtime"),
        (
            {"mig": "3g.40gb", "gpus": 2},
            "--mig: a task gets one MIG device, and gpus_per_node is 2",
        ),
        ({"mig": "3g.40gb", "gpu_share": 0.5}, "--mig: gpu_share is a share of a GPU that is not"),
        ({"secrets": {"A": "b/c"}}, "--secrets: secrets: A: not the name of an entry"),
        ({"idle_gpu": "below=x"}, "--idle-gpu: limits.idle_gpu"),
        ({"env": ["A"]}, '--env: "A": expected NAME=VALUE'),
        ({"secrets": ["wandb"]}, '--secrets: "wandb": expected NAME=ENTRY'),
        ({"replicas": 2}, '--replicas: [service] is for kind = "service"'),
    ],
)
def test_a_wrong_option_is_told_by_its_name(options: dict[str, Any], said: str) -> None:
    [problem] = refused_options(command=["x"], **options)
    assert problem.startswith(said)


def test_programs_may_hand_in_paths_and_numpys_whole_numbers() -> None:
    spec = job_from_options(
        command=["python", PurePosixPath("train.py")],
        workdir=PurePosixPath("/data"),
        gpus=np.int64(2),
        after_ok=[np.int32(7)],
    )
    assert (spec.command, spec.workdir) == (("python", "train.py"), "/data")
    assert (spec.resources.gpus_per_node, spec.after_ok) == (2, (7,))


def test_problems_of_file_and_options_are_told_apart() -> None:
    with pytest.raises(JobFileError) as caught:
        parse_job('command = ["x"]\npriority = 500', "job.toml", nodes=0)
    first, second = caught.value.problems
    assert first.startswith("job.toml:2: priority")
    assert second.startswith("--nodes: ")


def test_no_command_at_all() -> None:
    assert refused_options() == (
        'command is missing, for example command = ["python", "train.py"]',
    )


# --- Specs that come ready-made ---------------------------------------------------------


def test_a_spec_from_a_file_has_no_problems() -> None:
    assert job_problems(parse_job(FULL, "x")) == ()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (JobSpec(name="../../etc", command=("x",)), "not a valid name"),
        (JobSpec(name="x", command=()), "command is missing"),
        (JobSpec(name="x", command=("x",), priority=10**9), "from 0 to 100"),
        (JobSpec(name="x", command=("x",), resources=Resources(nodes=-1)), "whole number from 1"),
        (JobSpec(name="x", command=("x",), env={"WATTLINE_JOB": "1"}), "set by Wattline"),
        (JobSpec(name="x", command=("x",), array=ArraySpec(())), "at least one index"),
        (JobSpec(name="x", command=("x",), array=ArraySpec((5, 1))), "not a job file's value"),
        (JobSpec(name="x", command=("x",), array=ArraySpec((1, 1))), "repeats an index"),
        (JobSpec(name="x", command=("x",), kind="service"), "not a job file's value"),
        (
            JobSpec(name="x", command=("x",), resources=Resources(memory_bytes=-5)),
            "expected a size",
        ),
    ],
)
def test_a_spec_that_no_file_could_give_is_refused(spec: JobSpec, said: str) -> None:
    assert any(said in problem for problem in job_problems(spec))


@pytest.mark.parametrize(
    ("said", "permille"), [("0.5", 500), ("0.001", 1), ("0.07", 70), ("1", 1000)]
)
def test_a_share_is_kept_in_whole_thousandths_both_ways(said: str, permille: int) -> None:
    spec = parse_job(f'command = ["true"]\nresources.gpu_share = {said}', "job.toml")
    assert spec.resources.gpu_share_permille == permille
    assert parse_job(format_job(spec), "again") == spec
    assert job_problems(spec) == ()


def test_a_share_of_several_gpus_is_a_contradiction() -> None:
    with pytest.raises(
        JobFileError, match="gpu_share is a share of one GPU, and gpus_per_node is 2"
    ):
        job_from_options(command="true", gpu_share=0.5, gpus=2)


def test_an_option_without_its_value_is_told_once() -> None:
    with pytest.raises(JobFileError) as refused:
        job_from_options(command=["x"], label=["fabric", "disk=nvme"])
    assert refused.value.problems == ('--label: "fabric": expected NAME=VALUE',)
