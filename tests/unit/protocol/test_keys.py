"""Key files and bundles: private, checked, never overwritten, never printed."""

import os
from pathlib import Path

import pytest

from wattline_protocol.trust.keys import (
    JoinBundle,
    KeyFileError,
    KeyPair,
    load_bundle,
    load_keys,
    save_bundle,
    save_keys,
)


def bundle(name: str = "alice") -> JoinBundle:
    keys, scheduler = KeyPair.generate(), KeyPair.generate()
    return JoinBundle(
        site="lab",
        name=name,
        role="submitter",
        agent_endpoint="tcp://10.0.0.5:7701",
        client_endpoint="tcp://10.0.0.5:7702",
        scheduler_public_key=scheduler.public,
        public_key=keys.public,
        secret_key=keys.secret,
    )


def test_keys_and_bundles_are_read_back_and_private(tmp_path: Path) -> None:
    keys, joined = KeyPair.generate(), bundle()
    save_keys(keys, tmp_path / "a.key")
    save_bundle(joined, tmp_path / "alice.toml")
    assert load_keys(tmp_path / "a.key") == keys
    assert load_bundle(tmp_path / "alice.toml") == joined
    assert joined.keys == KeyPair(joined.public_key, joined.secret_key)
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        save_keys(KeyPair.generate(), tmp_path / "a.key")
    finally:
        os.umask(before)
    assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    save_keys(KeyPair.generate(), tmp_path / "a.key")
    (tmp_path / "a.key").chmod(mode)
    with pytest.raises(KeyFileError, match=rf"mode {mode:04o}.*chmod 600"):
        load_keys(tmp_path / "a.key")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    keys = KeyPair.generate()
    save_keys(keys, tmp_path / "a.key")
    with pytest.raises(KeyFileError, match="never overwritten"):
        save_keys(KeyPair.generate(), tmp_path / "a.key")
    assert load_keys(tmp_path / "a.key") == keys


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "a.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError):
        save_keys(KeyPair.generate(), tmp_path / "a.key")
    assert not (tmp_path / "elsewhere").exists()


def test_secrets_are_not_printed() -> None:
    keys, joined = KeyPair.generate(), bundle()
    assert keys.secret not in repr(keys)
    assert joined.secret_key not in repr(joined)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "missing required field"),
        ("not toml", "a.key"),
        ('public_key = "x"\nsecret_key = "y"', "a key has 40 characters"),
        (f'public_key = "{"~" * 40}"\nsecret_key = "{"~" * 40}"', "a key has 40 characters"),
        ('public_key = "x"\nsecret_key = "y"\nspare = 1', "unknown field"),
        ("x = 1\n" * 20_000, "over 65536 bytes"),
    ],
)
def test_what_is_no_key_file_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(KeyFileError, match=said):
        load_keys(write(tmp_path / "a.key", text))


def test_binary_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.key", "")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(KeyFileError, match="not UTF-8"):
        load_keys(path)


def test_a_public_key_of_another_pair_is_told(tmp_path: Path) -> None:
    one, other = KeyPair.generate(), KeyPair.generate()
    save_keys(KeyPair(one.public, other.secret), tmp_path / "a.key")
    with pytest.raises(KeyFileError, match="does not belong"):
        load_keys(tmp_path / "a.key")


def test_a_missing_file_and_a_missing_directory_are_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"cannot read .*No such file"):
        load_keys(tmp_path / "none.key")
    with pytest.raises(KeyFileError, match=r"cannot write .*No such file"):
        save_keys(KeyPair.generate(), tmp_path / "none" / "a.key")


def test_a_bundle_with_a_name_that_is_a_path_is_refused(tmp_path: Path) -> None:
    save_bundle(bundle("../alice"), tmp_path / "b.toml")
    with pytest.raises(KeyFileError, match="not a valid name"):
        load_bundle(tmp_path / "b.toml")
