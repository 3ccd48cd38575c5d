"""The protocol on a small list, every policy end to end, and what is refused."""

import gzip
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from support.strategies.openb_lists import write_lists, write_power_model
from wattline.verbs.catalogue import CATALOGUE
from wattline.verbs.group import Root
from wattline_lab.replay.openb.arrivals import arrivals
from wattline_lab.replay.openb.lists import ListUnreadable, Pod, read_nodes, read_pods
from wattline_lab.replay.openb.names import POLICY_NAMES, parse_policy, parse_seeds
from wattline_lab.replay.openb.replay import read_lists, replay
from wattline_lab.replay.openb.result import half_width
from wattline_lab.replay.openb.run import Curve

ANY: frozenset[str] = frozenset()


def pod(gpus: int = 1, gpu_milli: int = 1000) -> Pod:
    return Pod(1000, 1024, gpus, gpu_milli, ANY)


def cli(*args: str) -> Result:
    return CliRunner().invoke(Root(CATALOGUE), args)


def test_arrivals_fill_up_to_the_load_and_start_with_each_pod_once() -> None:
    pods = [pod(gpu_milli=500), pod(gpus=2), pod(gpu_milli=300)]
    order = arrivals(pods, 4000, random.Random(1))
    assert sorted(order[:3]) == [0, 1, 2]
    asked = sum(pods[i].size_milli for i in order)
    # The look at the next pod counts one GPU of it: a pod of two may pass the load by one.
    assert 5200 - 1000 < asked <= 5200 + 1000


def test_arrivals_are_thinned_to_the_load() -> None:
    pods = [pod() for _ in range(20)]
    order = arrivals(pods, 10_000, random.Random(1))
    assert len(order) == len(set(order)) == 13


def test_arrivals_depend_on_the_seed_alone() -> None:
    pods = [pod(gpu_milli=100 * n) for n in range(1, 9)]
    first, again, other = (arrivals(pods, 6000, random.Random(seed)) for seed in (7, 7, 8))
    assert first == again != other


def test_a_curve_holds_means_by_percent_and_the_last_one_reached() -> None:
    curve = Curve(10_000)
    curve.note(4_960, np.array([1.0, 2.0]))
    curve.note(5_040, np.array([3.0, 4.0]))
    assert curve.at(50).tolist() == [2.0, 3.0]
    assert curve.at(100).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("policy", [*POLICY_NAMES, "pwr100+fgd900", "wattline+pwr5000"])
def test_each_policy_fills_a_small_fleet(policy: str, tmp_path: Path) -> None:
    pods, nodes = write_lists(tmp_path)
    lists = read_lists(pods, nodes, write_power_model(tmp_path))
    report = replay(lists, policy, (1, 2))
    assert report == replay(lists, policy, (1, 2))
    assert [one.seed for one in report.seeds] == [1, 2]
    by_percent = {point.arrived_pct: point for point in report.curve}
    assert by_percent[20].placed_pct > 95.0
    assert 0.0 <= report.mean_unallocated_pct < 30.0
    power_kw = [point.power_kw or 0.0 for point in report.curve]
    assert power_kw == sorted(power_kw)


def test_comparing_a_policy_with_itself_finds_no_difference(tmp_path: Path) -> None:
    pods, nodes = write_lists(tmp_path)
    lists = read_lists(pods, nodes, write_power_model(tmp_path))
    report = replay(lists, "fgd", (1, 2, 3), "fgd")
    assert report.versus is not None
    assert (report.versus.mean_difference_pct, report.versus.ci95_pct) == (0.0, 0.0)
    assert {point.power_saved_pct for point in report.curve} == {0.0}


def test_the_interval_is_students() -> None:
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(4.303 * 1.0 / 3**0.5)
    assert half_width([1.0]) == 0.0


def test_the_verb_prints_the_figures_as_json_and_as_a_table(tmp_path: Path) -> None:
    pods, nodes = write_lists(tmp_path)
    args = ["replay", "openb", "--pods", str(pods), "--nodes", str(nodes), "--seeds", "3-4"]
    found = cli(*args, "--policy", "wattline", "--against", "fgd", "--json")
    assert found.exit_code == 0, found.output
    report = msgspec.json.decode(found.stdout)
    assert report["policy"] == "wattline"
    assert [one["seed"] for one in report["seeds"]] == [3, 4]
    mean = sum(one["unallocated_pct"] for one in report["seeds"]) / 2
    assert report["mean_unallocated_pct"] == pytest.approx(mean, abs=0.001)
    assert report["versus"]["policy"] == "fgd"
    assert report["curve"][0]["power_kw"] is None
    shown = cli(*args, "--policy", "bestfit")
    assert shown.exit_code == 0
    assert "ARRIVED %" in shown.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--policy", "best"), "'best' is no policy"),
        (("--policy", "fgd", "--seeds", "5-3"), "a range runs upwards"),
        (("--policy", "fgd", "--seeds", "x"), "names no seeds"),
        (("--policy", "pwr"), "needs a power model"),
        (("--policy", "fgd", "--power-model", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_what_makes_no_sense_is_refused(args: tuple[str, ...], said: str, tmp_path: Path) -> None:
    pods, nodes = write_lists(tmp_path)
    found = cli("replay", "openb", "--pods", str(pods), "--nodes", str(nodes), *args)
    assert found.exit_code != 0
    assert said in str(found.exception) + found.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,cpu_milli,memory_mib,num_gpu\n", "no column gpu_milli"),
        ("name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,many,1,1,1000\n", "many"),
        ("name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,1,1,2,500\n", "2 GPUs of 500"),
    ],
)
def test_an_unreadable_list_is_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "pods.csv"
    path.write_text(text)
    with pytest.raises(ListUnreadable, match=said):
        read_pods(path)


def test_lists_are_read_packed_and_pods_sorted_by_name(tmp_path: Path) -> None:
    path = tmp_path / "pods.csv.gz"
    path.write_bytes(
        gzip.compress(
            b"name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
            b"b,2000,1,2,1000,G2|T4\na,1000,1,1,300,\nc,500,1,0,0,\n"
        )
    )
    assert read_pods(path) == [
        Pod(1000, 1, 1, 300, ANY),
        Pod(2000, 1, 2, 1000, frozenset({"G2", "T4"})),
        Pod(500, 1, 0, 0, ANY),
    ]
    with pytest.raises(ListUnreadable, match=r"none\.csv"):
        read_nodes(tmp_path / "none.csv")


def test_words_for_policies_and_seeds() -> None:
    assert parse_policy("pwr100+fgd900") == ("pwr", 100, 900)
    assert parse_policy("pwr") == ("pwr", 1, 0)
    assert parse_policy("wattline") == ("wattline", 0, 0)
    assert parse_policy("wattline+pwr5000") == ("wattline", 5000, 0)
    assert parse_seeds("42-44,7") == (42, 43, 44, 7)
