"""A job whose node is lost for good: it resumes on another one, from the store."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from support.programs.cli_site import CliSite
from support.programs.fetch_process import lines_of
from support.programs.s3_server import BUCKET, S3Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("stored")]

PROGRAM = """
import os, sys, time
from pathlib import Path
from wattline import task

checkpoint = task.latest()
step = int(checkpoint.path.read_text()) if checkpoint else 0
print(f"begins after step {step} on {task.identity().node}", flush=True)
for step in range(step + 1, 10_000):
    task.save(step, str(step).encode())
    if os.path.exists(sys.argv[1]):
        break
    time.sleep(0.3)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as made:
        yield made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, server: S3Server) -> Iterator[CliSite]:
    def with_store(text: str) -> str:
        store = f'store = "s3://{BUCKET}/site"\nendpoint = "{server.endpoint}"\n'
        return f"{text}\n[data]\n{store}"

    folder = tmp_path_factory.mktemp("site")
    with CliSite(folder, nodes=("n1", "n2"), edit=with_store) as made:
        for node in ("n1", "n2"):
            secret = made.state(node) / "secrets/admin/store"
            secret.parent.mkdir(mode=0o700, parents=True)
            secret.parent.parent.chmod(0o700)
            secret.write_text(lines_of(server.writer))
            secret.chmod(0o600)
            made.start_node(node)
        yield made


def lose(site: CliSite, node: str) -> None:
    """All that runs there is gone at once, and its disk with it."""
    state = str(site.state(node))
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        with suppress(psutil.Error):
            said = " ".join([*process.info["cmdline"], *(process.info["environ"] or {}).values()])
            if state in said:
                found.append(process)
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    site.stop(f"agent-{node}", signal.SIGKILL)
    site.state(node).rename(site.state(node).with_name(f"lost-{node}"))
    site.until(lambda: site.client.node(node).state == "silent", f"{node} is silent")
    site.wattline("node", "off", node, "--confirm", node, "--reason", "it is lost")


def test_a_job_whose_node_is_lost_resumes_elsewhere_from_the_store(
    site: CliSite, server: S3Server, tmp_path: Path
) -> None:
    program, goal = tmp_path / "train.py", tmp_path / "goal"
    program.write_text(PROGRAM)
    keep = ("--outputs", "checkpoints/", "--store-secret", "store", "--gpus", "1")
    job = site.submit(*keep, "--", "python", str(program), str(goal))
    first = site.until_json(lambda found: (found["checkpoint"] or {}).get("stored"), "job", job)
    site.until_all_shown((" stored",), "job", job)
    (node,) = first["nodes"]
    stored = first["checkpoint"]["stored"]["step"]
    assert stored > 0
    lose(site, node)

    (other,) = {"n1", "n2"} - {node}
    site.until_json(lambda found: found["nodes"] == [other], "job", job)
    said = site.until_shown(f"on {other}", "logs", job)
    begun = int(said.partition("begins after step ")[2].split()[0])
    assert begun >= stored
    site.until_json(lambda found: found["checkpoint"]["stored"]["step"] > begun, "job", job)
    goal.touch()
    ended = site.until_state(job, "COMPLETED")
    last = site.until_json(lambda found: found["checkpoint"]["uploaded"], "job", job)
    assert last["checkpoint"]["step"] == ended["checkpoint"]["step"]

    keys = server.writer
    site.environ |= {"AWS_ACCESS_KEY_ID": keys.key_id, "AWS_SECRET_ACCESS_KEY": keys.secret}
    site.wattline("data", "add", "net", "--model", "--from-run", job)
    made = site.json("data", "show", "net@v1")
    assert made["bytes"] == len(str(last["checkpoint"]["step"]))
