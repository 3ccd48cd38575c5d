"""A secret of a user of a real site: put, used, replaced, removed; and found in no other place."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs.cli_site import COMMAND_S, CliSite

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("secrets")]

MARKER = "m4rker-3f786850e387"
"""Of every value."""


@pytest.fixture(scope="module")
def site() -> Iterator[CliSite]:
    with tempfile.TemporaryDirectory() as made, CliSite(Path(made), nodes=("n1", "n2")) as site:
        site.start_node("n1")
        yield site


def put(site: CliSite, *words: str, value: str = MARKER, user: str = "admin") -> tuple[int, str]:
    bundle = {"WATTLINE_BUNDLE": str(site.bundle(user))}
    done = subprocess.run(
        site.command("secret", "put", *words),
        env={**site.environ, **bundle},
        input=value,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def holders(site: CliSite) -> list[str]:
    """Files of the site, and process arguments, that have a value, but for entries on nodes."""
    found = [
        str(path)
        for path in site.folder.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and "secrets" not in path.parts
        and MARKER.encode() in path.read_bytes()
    ]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if MARKER.encode() in line:
            found.append(f"{process.name}: {line!r}")
    return found


JOB = """
command = ["sh", "-c", '''
test "$KEY" = "$(cat $WATTLINE_SECRETS_DIR/KEY)" || exit 3
printf %s "$KEY" | sha256sum; until test -e {goal}; do sleep 0.1; done''']
kind = "training"
[resources]
gpus_per_node = 0
[secrets]
KEY = {{ entry = "wandb", env = true }}
"""


def test_a_key_reaches_its_tasks_and_is_found_in_no_other_place(
    site: CliSite, tmp_path: Path
) -> None:
    goal, file = tmp_path / "goal", tmp_path / "job.toml"
    file.write_text(JOB.format(goal=goal))
    job = site.submit(str(file))
    site.until_shown("no node has secret wandb of user admin", "job", job)

    status, said = put(site, "wandb")
    assert status == 1
    assert said == "secret wandb of user admin: stored on 1 of 2 nodes; not on n2: not enrolled\n"
    site.until_state(job, "RUNNING")
    listed = site.json("secret", "ls")
    assert listed == [{"user": "admin", "entry": "wandb", "nodes": 1, "of_nodes": 1}]

    for view in (("job", job), ("jobs",), ("events", "--acts"), ("node", "n1"), ("explain", job)):
        shown = site.wattline(*view) + site.wattline(*view, "--json")
        assert MARKER not in shown, view
    assert "secret wandb of user admin is sent to n1" in site.wattline("events", "--acts")
    assert holders(site) == []
    goal.touch()
    site.until_state(job, "COMPLETED")
    digest = subprocess.run(
        ["sha256sum"], input=MARKER, capture_output=True, text=True, check=True
    ).stdout
    assert site.wattline("logs", job) == digest
    assert site.wattline("runs", "show", job, "--json").count(MARKER) == 0

    site.stop("scheduler")
    site.start_scheduler()
    assert site.until_json(bool, "secret", "ls") == listed, "its agent reports it again"

    assert site.wattline("secret", "rm", "wandb", "--node", "n1").startswith(
        "secret wandb of user admin: removed from 1 of 1 node"
    )
    site.until_json(lambda rows: rows == [], "secret", "ls")
    assert holders(site) == []
    entries = [path for path in site.state("n1").rglob("*") if path.name == "wandb"]
    assert entries == []


def test_what_is_wrong_is_refused_with_the_reason(site: CliSite) -> None:
    site.wattline("enroll", "eve", "--role", "submitter", "--site", str(site.site))
    site.until(lambda: put(site, "mine", "--node", "n1", user="eve")[0] == 0, "eve is enrolled")
    wrong = (
        (("wandb", "--user", "admin"), MARKER, "eve", 4, "you are eve"),
        (("wandb",), "", "admin", 2, "stdin is empty"),
        (("wandb",), "x" * 65537, "admin", 2, "over 65536 bytes"),
        (("a/b",), MARKER, "admin", 2, "not a valid name"),
        (("wandb", "--node", "n9"), MARKER, "admin", 3, "n9"),
        (("wandb", "--node", "n2"), MARKER, "admin", 1, "not on n2: not enrolled"),
    )
    for words, value, user, status, text in wrong:
        code, said = put(site, *words, value=value, user=user)
        assert (code, text in said) == (status, True), said
        assert MARKER not in said
    refused = site.run("secret", "rm", "nothing")
    assert refused.returncode == 3
    assert "no node that reports has secret nothing of user admin" in refused.stderr
    assert holders(site) == []


def test_a_value_is_typed_unseen_on_a_terminal(site: CliSite) -> None:
    shown, status = site.in_terminal(
        "secret", "put", "typed", "--node", "n1", until=(b"not shown",), then=f"{MARKER}\n".encode()
    )
    assert status == 0, shown
    assert MARKER.encode() not in shown
    assert (site.state("n1") / "secrets" / "admin" / "typed").read_text() == MARKER


def test_a_submission_with_a_key_in_env_is_hinted_at(site: CliSite) -> None:
    value = "hf_" + "Ab1" * 12
    done = site.run("submit", "--env", f"HF_TOKEN={value}", "--hold", "--gpus", "1", "--", "true")
    assert done.returncode == 0
    assert "wattline secret put hf-token" in done.stderr
    assert value not in done.stderr + done.stdout
