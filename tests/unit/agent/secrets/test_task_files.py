"""Secrets of attempts as files: in memory where there is some, and gone with the attempt."""

import os
from pathlib import Path

import pytest

from support.node.parts import order, ref
from wattline_agent.secrets.secret_store import SecretStore, SecretUnusable
from wattline_agent.secrets.task_files import TaskSecrets
from wattline_protocol.job.spec import SecretUse
from wattline_protocol.wire.task_order import TaskOrder


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    made = SecretStore(tmp_path / "secrets")
    made.write("ada", "wandb", b"m4rker\n")
    return made


def made_order(**secrets: str) -> TaskOrder:
    uses = {name: SecretUse(entry) for name, entry in secrets.items()}
    return order(ref(), secrets=uses)


def rig(tmp_path: Path, store: SecretStore, runtime: str = "") -> TaskSecrets:
    """On a host whose only memory file systems are those named."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"none / ext4 rw 0 0\nnone {runtime or '/no'} tmpfs rw 0 0\n")
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    return TaskSecrets(store, state, {"RUNTIME_DIRECTORY": runtime}, mounts)


def test_files_are_readable_by_their_owner_alone_whatever_the_umask(
    tmp_path: Path, store: SecretStore
) -> None:
    before = os.umask(0o077)
    try:
        folder = Path(rig(tmp_path, store).place("1.0.1", made_order(KEY="wandb")))
    finally:
        os.umask(before)
    assert (folder / "KEY").read_bytes() == b"m4rker\n"
    parts = (folder.parent, folder, folder / "KEY")
    assert [oct(part.stat().st_mode & 0o777) for part in parts] == ["0o711", "0o755", "0o400"]


def test_memory_is_preferred_to_disk(tmp_path: Path, store: SecretStore) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    secrets = rig(tmp_path, store, str(runtime))
    assert secrets.place("1.0.1", made_order(KEY="wandb")).startswith(f"{runtime}/")
    secrets.remove("1.0.1")
    assert [*runtime.rglob("KEY")] == []
    on_disk = rig(tmp_path, store)
    assert on_disk.place("1.0.1", made_order(KEY="wandb")).startswith(f"{tmp_path}/state/")


def test_a_directory_that_another_can_write_is_not_used(tmp_path: Path, store: SecretStore) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    first = rig(tmp_path, store, str(runtime))
    root = Path(first.place("1.0.1", made_order(KEY="wandb"))).parent
    first.remove("1.0.1")
    root.chmod(0o777)
    assert first.place("1.0.1", made_order(KEY="wandb")).startswith(f"{tmp_path}/state/")
    root.rmdir()
    root.symlink_to(tmp_path)
    assert first.place("1.0.2", made_order(KEY="wandb")).startswith(f"{tmp_path}/state/")


def test_a_missing_entry_leaves_nothing(tmp_path: Path, store: SecretStore) -> None:
    secrets = rig(tmp_path, store)
    with pytest.raises(SecretUnusable, match="this node has no secret other of user ada"):
        secrets.place("1.0.1", made_order(KEY="wandb", MORE="other"))
    assert [*(tmp_path / "state").rglob("KEY")] == []


@pytest.mark.parametrize("name", ["../KEY", "a/KEY", "", ".", "KEY\n"])
def test_a_name_that_is_no_variable_is_no_path(
    tmp_path: Path, store: SecretStore, name: str
) -> None:
    with pytest.raises(SecretUnusable, match="the name of a variable"):
        rig(tmp_path, store).place("1.0.1", made_order(**{name: "wandb"}))
    assert [*(tmp_path / "state").rglob("KEY")] == []


def test_what_a_crash_left_is_swept_and_what_lives_is_kept(
    tmp_path: Path, store: SecretStore
) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    before = rig(tmp_path, store)
    before.place("1.0.1", made_order(KEY="wandb"))
    now = rig(tmp_path, store, str(runtime))
    kept = now.place("2.0.1", made_order(KEY="wandb"))
    now.place("3.0.1", made_order(KEY="wandb"))
    now.sweep(["2.0.1"])
    assert [str(path) for path in tmp_path.rglob("KEY")] == [f"{kept}/KEY"]
    again = now.place("2.0.1", made_order(KEY="wandb"))
    assert again == kept, "what a start that was broken off left is replaced"
