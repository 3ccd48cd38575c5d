"""Entries on a node: private files, bounds, and credentials of systemd."""

import os
from pathlib import Path

import pytest

from wattline_agent.secrets.secret_store import SecretStore, SecretUnusable
from wattline_protocol.data.secrets import MAX_OF_USER, MAX_VALUE_BYTES

VALUE = b"m4rker\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


def test_a_stored_value_is_private_read_back_and_removed(folder: Path) -> None:
    store = SecretStore(folder)
    assert store.find().names == ()
    store.write("ada", "wandb", VALUE)
    store.write("ada", "wandb", VALUE + b"2")
    modes = [oct(path.stat().st_mode & 0o777) for path in (folder, *sorted(folder.rglob("*")))]
    assert modes == ["0o700", "0o700", "0o600"]
    assert store.find().names == ("ada/wandb",)
    assert store.read("ada", "wandb") == VALUE + b"2"
    with pytest.raises(SecretUnusable, match="this node has no secret wandb of user bob"):
        store.read("bob", "wandb")
    store.remove("ada", "wandb")
    store.remove("ada", "wandb")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("ada/wandb", 0o644, "mode 0644 lets others read it: chmod 600 {path}"),
        ("ada/wandb", 0o640, "mode 0640 lets others read it: chmod 600 {path}"),
        ("ada", 0o750, "mode 0750 lets others in: chmod 700 {path}"),
        ("", 0o755, "mode 0755 lets others in: chmod 700 {path}"),
    ],
)
def test_what_others_can_read_is_refused_with_the_chmod(
    folder: Path, name: str, mode: int, words: str
) -> None:
    store = SecretStore(folder)
    store.write("ada", "wandb", VALUE)
    path = folder / name
    path.chmod(mode)
    found = store.find()
    assert found.names == ()
    assert len(found.problems) == 1
    assert found.problems[0].endswith(words.format(path=path))
    with pytest.raises(SecretUnusable, match="chmod"):
        store.read("ada", "wandb")


def test_links_pipes_and_odd_names_are_refused_and_disturb_nothing_else(folder: Path) -> None:
    store = SecretStore(folder)
    store.write("ada", "good", VALUE)
    (folder / "ada" / "link").symlink_to(folder / "ada" / "good")
    os.mkfifo(folder / "ada" / "pipe", 0o600)
    (folder / "ada" / "a\nb").write_bytes(VALUE)
    (folder / "ada" / "empty").touch(0o600)
    (folder / "ada" / "large").touch(0o600)
    (folder / "ada" / "large").write_bytes(bytes(MAX_VALUE_BYTES + 1))
    (folder / "bob").symlink_to(folder / "ada")
    found = store.find()
    assert found.names == ("ada/good",)
    assert len(found.problems) == 6
    for entry in ("link", "pipe", "empty", "large"):
        with pytest.raises(SecretUnusable):
            store.read("ada", entry)
    with pytest.raises(SecretUnusable):
        store.read("bob", "good")


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\x1b[1m", "x" * 65])
def test_bad_names_reach_no_file(folder: Path, name: str) -> None:
    store = SecretStore(folder)
    for user, entry in ((name, "wandb"), ("ada", name)):
        for act in (store.read, store.remove):
            with pytest.raises(SecretUnusable, match="not a valid name"):
                act(user, entry)
        with pytest.raises(SecretUnusable, match="not a valid name"):
            store.write(user, entry, VALUE)


def test_values_and_entries_are_bounded(folder: Path) -> None:
    store = SecretStore(folder)
    for value in (b"", bytes(MAX_VALUE_BYTES + 1)):
        with pytest.raises(SecretUnusable, match="1 to 65536 bytes"):
            store.write("ada", "wandb", value)
    store.write("ada", "e0", bytes(MAX_VALUE_BYTES))
    for number in range(1, MAX_OF_USER):
        (folder / "ada" / f"e{number}").touch(0o600)
    with pytest.raises(SecretUnusable, match="ada has 256 entries here, the maximum"):
        store.write("ada", "one-more", VALUE)
    store.write("ada", "e0", VALUE)
    store.write("bob", "one-more", VALUE)


def test_credentials_of_systemd_are_entries_that_only_the_unit_changes(
    folder: Path, tmp_path: Path
) -> None:
    passed = tmp_path / "credentials"
    passed.mkdir()
    for name in ("wattline-secret.ada.lovelace.wandb", "wattline-secret.odd", "bundle"):
        (passed / name).touch(0o400)
        (passed / name).chmod(0o600)
        (passed / name).write_bytes(VALUE)
    store = SecretStore(folder, str(passed))
    store.write("ada", "wandb", b"another")
    found = store.find()
    assert found.names == ("ada.lovelace/wandb", "ada/wandb")
    assert len(found.problems) == 1
    assert store.read("ada.lovelace", "wandb") == VALUE
    with pytest.raises(SecretUnusable, match=r"no secret lovelace\.wandb of user ada"):
        store.read("ada", "lovelace.wandb")
    with pytest.raises(SecretUnusable, match="a systemd credential"):
        store.write("ada.lovelace", "wandb", b"x")
    with pytest.raises(SecretUnusable, match="a systemd credential"):
        store.remove("ada.lovelace", "wandb")


def test_a_write_that_was_broken_off_is_no_entry_and_does_not_bar_the_next(folder: Path) -> None:
    store = SecretStore(folder)
    store.write("ada", "wandb", VALUE)
    (folder / "ada" / ".new.wandb").write_bytes(b"half")
    assert store.find().names == ("ada/wandb",)
    store.write("ada", "wandb", b"whole")
    assert store.read("ada", "wandb") == b"whole"
    assert [path.name for path in (folder / "ada").iterdir()] == ["wandb"]
