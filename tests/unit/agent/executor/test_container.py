"""From an order to the command line of podman."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.node.keepers import CONTEXT, order, ref
from wattline_agent.executor.launch import NotLaunchable, spec_of
from wattline_agent.executor.launchers.enter_container import (
    Unable,
    env_file_text,
    image_store,
    own_group,
    podman_argv,
)
from wattline_agent.executor.layout import TaskDir
from wattline_protocol.site.containers import Containers

FOLDER, TASKLIB = TaskDir(Path("/s"), ref()), Path("/lib")
SITE = Containers("runc", "/srv/images", ("/data:ro", "/s/tasks:ro"))
TASK = "/s/tasks/1.0.1"
ENV = {"SEED": "hunter2", "PATH": "/usr/bin", "HOME": "/users/ada", "WATTLINE_TASK_DIR": TASK}


def plan_of(*, is_simulated: bool = False, checkpoints: str = "/c/1", **more: Any) -> Any:
    asked = order("train", "--rate=1", launcher="container", image="localhost/a", **more)
    context = replace(CONTEXT, containers=SITE, is_simulated=is_simulated)
    return json.loads(spec_of(asked, context, FOLDER, checkpoints, TASKLIB).argv[-1])


def podman(plan: Any, group: str = "", cwd: str = "/w") -> list[str]:
    return podman_argv(plan, f"{TASK}/.wattline-podman", "/srv/images", ENV, group, cwd)


def test_the_command_stands_behind_the_image_and_nothing_of_it_is_an_option() -> None:
    argv = podman(plan_of())
    assert argv[-4:] == ["--", "localhost/a", "train", "--rate=1"]
    assert "--entrypoint=" in argv
    assert "--pull=never" in argv


def test_a_container_has_the_rights_of_its_account_and_no_more() -> None:
    argv = podman(plan_of())
    assert {"--cap-drop=all", "--security-opt=no-new-privileges", "--user=0:0"} <= set(argv)
    assert not any("privileged" in word.removeprefix("--security-opt=no-new-") for word in argv)


def test_paths_are_the_same_inside_and_the_task_writes_where_it_does_without_an_image() -> None:
    volumes = [word for word in podman(plan_of()) if word.startswith("--volume=")]
    paths = ("/s/tasks", "/c/1", "/lib", "/data", "/w", "/dev/shm")
    modes = ("rw", "rw", "ro", "ro", "rw", "rw")
    assert volumes == [f"--volume={p}:{p}:{m}" for p, m in zip(paths, modes, strict=True)]
    assert "--workdir=/w" in podman(plan_of())
    assert "--volume=/:/:rw" not in podman(plan_of(), cwd="/")


def test_variables_are_named_and_no_value_is_on_the_command_line() -> None:
    argv = podman(plan_of(env={"SEED": "hunter2"}))
    assert [word for word in argv if word.startswith("--env=")] == [
        "--env=SEED",
        "--env=WATTLINE_TASK_DIR",
    ]
    assert "hunter2" not in " ".join(argv) + json.dumps(plan_of(env={"SEED": "hunter2"}))


def test_a_variable_of_the_host_is_the_images_own_unless_the_job_sets_it() -> None:
    assert "--env=PATH" in podman(plan_of(env={"PATH": "/opt/bin"}))


def test_a_variable_that_podman_has_too_keeps_the_jobs_value_for_the_container() -> None:
    env = {"HOME": "/srv", "SEED": "1"}
    assert env_file_text(env, ["HOME", "SEED"], {"HOME"}) == "HOME=/srv\n"
    with pytest.raises(Unable, match="HOME must be one line"):
        env_file_text({"HOME": "a\nSEED=2"}, ["HOME"], {"HOME"})


def test_images_are_those_of_the_site_or_of_the_account() -> None:
    assert image_store("/srv/images", 7, "/users/ada") == "/srv/images"
    assert image_store("~/images", 7, "/users/ada") == "/users/ada/images"
    assert image_store("", 7, "/users/ada") == "/users/ada/.local/share/containers/storage"
    assert image_store("", 0, "/root") == "/var/lib/containers/storage"


def test_gpus_are_devices_by_uuid_and_simulated_ones_a_folder() -> None:
    argv = podman(plan_of())
    assert [w for w in argv if "gpu=" in w] == [
        "--device=nvidia.com/gpu=GPU-aa",
        "--device=nvidia.com/gpu=GPU-bb",
    ]
    plan = plan_of(is_simulated=True)
    assert not any("gpu=" in word for word in podman(plan))
    assert (plan["is_simulated"], plan["env"]) == (True, ["LD_LIBRARY_PATH"])


def test_the_group_of_the_container_lies_below_the_tasks() -> None:
    assert own_group("8:pids:/\n0::/wattline-1/1.0.1\n") == "/wattline-1/1.0.1"
    assert own_group("8:pids:/\n") == own_group("0::/\n") == ""
    assert "--cgroup-parent=/wattline-1/1.0.1" in podman(plan_of(), group="/wattline-1/1.0.1")


def test_a_directory_is_never_read_as_a_path_and_its_mode() -> None:
    with pytest.raises(Unable, match="no directory with a colon: /data:ro"):
        podman(plan_of(), cwd="/data:ro")


def test_a_path_that_podman_cannot_be_given_ends_the_attempt_with_its_name() -> None:
    with pytest.raises(NotLaunchable, match="colon or comma: /c:1"):
        plan_of(checkpoints="/c:1")
