"""Changing keys of a job: checked as at submission, and said in the words of its flags."""

import pytest

from wattline_protocol.job.change import WHEN, ChangeValue, changed, differences
from wattline_protocol.job.file import JobFileError, job_from_options
from wattline_protocol.job.keys import BY_NAME
from wattline_protocol.job.spec import JobSpec


def spec(**options: object) -> JobSpec:
    return job_from_options(command=["true"], **options)


def test_only_what_is_named_changes() -> None:
    before = spec(gpus=2, priority="low", env={"A": "1"}, retries=3, array="0-31%8", time="12h")
    after = changed(before, {"priority": "high", "time": "90m", "gpus": 4, "at_a_time": 4})
    assert differences(before, after) == {
        "priority": ("25", "75"),
        "runtime": ("12h", "1h30m"),
        "gpus_per_node": ("2", "4"),
        "at_a_time": ("8", "4"),
    }
    assert (after.env, after.recovery.retries) == (before.env, 3)


def test_none_takes_a_key_back_to_its_default() -> None:
    before = spec(queue="night", time="12h", gpu_type=["h100"], same_rack=True, array="0-3%2")
    keys: dict[str, ChangeValue] = dict.fromkeys(
        ("queue", "time", "gpu_type", "same_rack", "at_a_time"), "none"
    )
    assert changed(before, keys) == spec(array="0-3")


def test_defaults_are_shown_as_such() -> None:
    after = changed(spec(), {"queue": "night", "grace": "5s", "time": "1h"})
    assert differences(spec(), after) == {
        "queue": ("default", "night"),
        "grace": ("30s", "5s"),
        "runtime": ("none", "1h"),
    }


def test_labels_are_added_and_taken_out() -> None:
    before = spec(labels={"fabric": "ib"})
    after = changed(before, {"label": ("fabric=roce", "zone=b")})
    assert after == spec(labels=["fabric=roce", "zone=b"])
    assert differences(before, after) == {"labels": ("fabric=ib", "fabric=roce, zone=b")}
    assert changed(after, {"label": ("none",)}) == spec()


def test_the_same_again_is_no_difference() -> None:
    before = spec(array="0-3%2", gpus=3, memory="5GiB")
    assert not differences(before, changed(before, {"gpus": 3, "memory": "5GiB"}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "keys to change"),
        ({"priority": "hihg"}, "expected low, normal, high, critical or a whole number"),
        ({"retries": -1}, "--retries: recovery.retries = -1: expected a whole number"),
        ({"time": "soon"}, "--time: "),
        ({"gpus": 0}, "power.watts_per_gpu is about GPUs, but gpus_per_node is 0"),
        ({"at_a_time": 3}, "--at-a-time: the job is not an array"),
        ({"name": "x"}, "--name: cannot change; cancel the job and submit it again"),
        ({"command": "x"}, "--command: cannot change"),
        ({"prio": "high"}, "--prio: no such key; priority, queue, account"),
        ({"queue": "x" * 3_000}, "a value has at most"),
        ({f"k{n}": 1 for n in range(40)}, "1 to 32 keys"),
    ],
)
def test_what_cannot_be_says_why(changes: dict[str, ChangeValue], said: str) -> None:
    with pytest.raises(JobFileError) as refused:
        changed(spec(watts_per_gpu=500), changes)
    assert said in str(refused.value)


@pytest.mark.parametrize("value", [0, -1, True, "some", 1.5])
def test_a_throttle_is_a_number_from_one_on(value: ChangeValue) -> None:
    with pytest.raises(JobFileError, match="expected a number from 1 on, or none"):
        changed(spec(array="0-3"), {"at_a_time": value})


def test_every_key_that_may_change_is_one_of_a_job_file() -> None:
    assert set(WHEN) - {"at_a_time"} <= set(BY_NAME)


def test_a_job_with_dependencies_can_change() -> None:
    before = spec(after_ok=[17, 18], idle_gpu="below=0.1,for=5m,action=warn")
    after = changed(before, {"priority": "high", "energy": "2kWh", "idle_gpu": "none"})
    assert after.after_ok == (17, 18)
    reported = differences(before, after)
    assert (reported["priority"], reported["energy"]) == (("50", "75"), ("none", "2kWh"))
    assert reported["idle_gpu"][1] == "none"
