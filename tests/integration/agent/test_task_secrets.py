"""Secrets of tasks under a real keeper: as files and variables, nowhere else, gone at the end."""

import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.node.keepers import CONTEXT, LiveKeeper, keeper, order, ref, shell
from support.node.simnode import wait_until
from support.store.small_disk import small_disk
from wattline_agent.executor.runner import KeeperRunner
from wattline_agent.secrets.secret_store import SecretStore, SecretUnusable
from wattline_protocol.data.secrets import MAX_VALUE_BYTES
from wattline_protocol.job.spec import SecretUse

MARKER = "m4rker-of-a-secret"
SECRETS = {"KEY": SecretUse("wandb", env=True), "FILE": SecretUse("deploy")}


@pytest.fixture
def live() -> Iterator[LiveKeeper]:
    """With two entries of the owner of its orders, in a folder that all accounts get to."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        state = Path(made, "state")
        state.mkdir(0o711)
        store = SecretStore(state / "secrets")
        store.write("ada", "wandb", f"{MARKER}\n".encode())
        store.write("ada", "deploy", b"\0" + MARKER.encode())
        with keeper(state) as started:
            yield started


def holders(live: LiveKeeper) -> list[str]:
    """Files of the node, but the entries, and command lines of all processes, with the value."""
    found = [
        str(path)
        for path in live.state_dir.rglob("*")
        if path.is_file()
        and live.state_dir / "secrets" not in path.parents
        and MARKER.encode() in path.read_bytes()
    ]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if MARKER.encode() in (process / "cmdline").read_bytes():
                found.append(str(process))
        except OSError:  # it has ended
            continue
    return found


PROGRAM = f"""
test "$KEY" = {MARKER[:2]}{MARKER[2:]} || exit 3
test "$(cat "$WATTLINE_SECRETS_DIR/KEY")" = "$KEY" || exit 4
test "$(wc -c < "$WATTLINE_SECRETS_DIR/FILE")" = {len(MARKER) + 1} || exit 5
test -z "$FILE" || exit 6
test "$(stat -c %a "$WATTLINE_SECRETS_DIR/KEY")" = 400 || exit 7
ulimit -H -c; echo dir=$WATTLINE_SECRETS_DIR; exec sleep 1000
"""


def test_a_task_finds_its_secrets_and_nothing_else_on_the_node_has_them(live: LiveKeeper) -> None:
    program = live.state_dir.parent / "program"
    program.write_text(PROGRAM)
    live.runner.launch(order("/bin/sh", str(program), secrets=SECRETS), CONTEXT)
    wait_until(lambda: "dir=" in live.log() or live.seen().phase == "ended", "it has found them")
    seen = live.seen()
    assert seen.phase == "running", seen.exit
    lines = live.log().splitlines()
    folder = Path(lines[-1].removeprefix("dir="))
    assert (folder / "KEY").read_text() == f"{MARKER}\n"
    assert folder.parent.stat().st_mode & 0o777 == 0o711
    pid = seen.pid
    assert pid is not None
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (1, 1)
    assert f"KEY={MARKER}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    keeper_environ = Path(f"/proc/{live.process.pid}/environ").read_bytes()
    assert MARKER.encode() not in keeper_environ
    assert holders(live) == []
    live.runner.stop(ref(), 5.0, "enough")
    live.until("ended")
    assert not folder.exists()
    assert holders(live) == []


def test_secrets_without_variables_start_as_quickly_and_are_files(live: LiveKeeper) -> None:
    only_file = {"FILE": SecretUse("deploy")}
    task = shell('test -s "$WATTLINE_SECRETS_DIR/FILE"', secrets=only_file)
    end = live.run(task).exit
    assert end is not None
    assert end.code == 0


def test_a_program_of_the_node_with_keys_of_stores_leaves_no_core(live: LiveKeeper) -> None:
    def found() -> list[int]:
        children = psutil.Process(live.process.pid).children(recursive=True)
        return [child.pid for child in children if child.name() == "sleep"]

    live.runner.begin_service(("/bin/sleep", "1000"))
    wait_until(lambda: bool(found()), "it runs")
    assert resource.prlimit(found()[0], resource.RLIMIT_CORE) == (1, 1)


@pytest.mark.parametrize(
    ("uses", "words"),
    [
        ({"KEY": SecretUse("other")}, "this node has no secret other of user ada"),
        ({"KEY": SecretUse("deploy", env=True)}, "secret KEY contains a NUL byte"),
    ],
    ids=["absent", "nul"],
)
def test_what_cannot_be_given_ends_the_start_with_the_reason(
    live: LiveKeeper, uses: dict[str, SecretUse], words: str
) -> None:
    end = live.run(shell("true", secrets=uses)).exit
    assert end is not None
    assert (end.kind, words in end.detail) == ("not_startable", True), end
    assert MARKER not in end.detail
    assert holders(live) == []


def test_a_file_that_others_can_read_starts_nothing_and_names_the_chmod(live: LiveKeeper) -> None:
    entry = live.state_dir / "secrets" / "ada" / "wandb"
    entry.chmod(0o644)
    end = live.run(shell("true", secrets=SECRETS)).exit
    assert end is not None
    assert end.detail.endswith(f"chmod 600 {entry}")


def test_a_full_disk_keeps_the_old_value_whole(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 1) as disk:
        store = SecretStore(disk.outside / "secrets")
        store.write("ada", "wandb", b"old")
        disk.fill()
        with pytest.raises(SecretUnusable, match="No space left on device"):
            store.write("ada", "wandb", bytes(MAX_VALUE_BYTES))
        assert (store.find().names, store.read("ada", "wandb")) == (("ada/wandb",), b"old")
        disk.free()
        store.write("ada", "wandb", b"new")
        assert store.read("ada", "wandb") == b"new"


def test_what_a_dead_agent_left_is_removed_by_the_next_one(live: LiveKeeper) -> None:
    live.runner.launch(shell("exec sleep 1000", secrets=SECRETS), CONTEXT)
    live.until("running")
    gone, lives = ref(job=7), ref()
    secrets = live.runner._secrets
    left = Path(secrets.place("7.0.1", shell("true", of=gone, secrets=SECRETS)))
    live.runner.close()
    store = SecretStore(live.state_dir / "secrets")
    live.runner = KeeperRunner(live.state_dir, 30.0, secrets=store)
    assert not left.exists()
    kept = left.with_name(f"{lives.job}.{lives.task}.{lives.attempt}")
    assert (kept / "KEY").exists()
    live.runner.kill(ref(), "signaled", "enough")
    live.until("ended")
    assert not kept.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start tasks as other accounts")
def test_another_account_gets_its_own_files_and_reads_no_others(live: LiveKeeper) -> None:
    end = live.run(
        shell(
            'test "$(id -un)" = nobody && test -n "$KEY" && cat "$WATTLINE_SECRETS_DIR/FILE" '
            '> /dev/null && ! ls "$WATTLINE_SECRETS_DIR/.." && ! touch "$WATTLINE_SECRETS_DIR/x"',
            secrets=SECRETS,
            run_as="nobody",
        )
    ).exit
    assert end is not None
    assert end.code == 0, live.log()
