"""Key pairs and join bundles as private files.

Keys are CURVE25519 in z85: 40 printable characters. A join bundle is all that a member needs to
reach its site: the endpoints, the scheduler's public key and a key pair of its own.
"""

import hashlib
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec
import zmq

from wattline_protocol.site.model import Role
from wattline_protocol.text.names import check_name
from wattline_protocol.text.toml import document_text
from wattline_protocol.trust.file_privacy import is_private

KEY_CHARS = 40
MAX_KEY_FILE_BYTES = 64 * 1024
"""Key files, member files and bundles are well below 1 KiB."""

SITE_ID_CHARS = 16

_Z85 = re.compile(rf"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{{}}@%$#]{{{KEY_CHARS}}}")
F = TypeVar("F", bound=msgspec.Struct)


class KeyFileError(ValueError):
    """A key, member or bundle file that cannot be used or made: which, why, and the remedy."""


def check_key(key: str) -> str:
    """`key` itself. Raises ValueError when it is no z85 key."""
    if _Z85.fullmatch(key) is None:
        raise ValueError(f"not a key: a key has {KEY_CHARS} characters of z85")
    return key


class KeyPair(msgspec.Struct, frozen=True):
    """A CURVE key pair. Its text form hides the secret."""

    public: str
    secret: str

    @classmethod
    def generate(cls) -> "KeyPair":
        """A fresh pair from the system's random source."""
        public, secret = zmq.curve_keypair()
        return cls(public.decode("ascii"), secret.decode("ascii"))

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r}, secret=…)"


class JoinBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a member needs to join a site; secret."""

    site: str
    name: str
    role: Role
    agent_endpoint: str
    client_endpoint: str
    scheduler_public_key: str
    public_key: str
    secret_key: str

    @property
    def keys(self) -> KeyPair:
        """The member's own pair."""
        return KeyPair(self.public_key, self.secret_key)

    @property
    def site_id(self) -> str:
        """Names the site among all, as its name may not: by the key of its scheduler."""
        return hashlib.sha256(self.scheduler_public_key.encode()).hexdigest()[:SITE_ID_CHARS]

    def __repr__(self) -> str:
        return f"JoinBundle(site={self.site!r}, name={self.name!r}, role={self.role!r}, …)"


# --- Secret files -----------------------------------------------------------------------


def save_keys(keys: KeyPair, path: Path) -> None:
    """Write a new key file, 0600. Raises KeyFileError when it exists or cannot be written."""
    _write_secret(path, document_text({"public_key": keys.public, "secret_key": keys.secret}))


def load_keys(path: Path) -> KeyPair:
    """Read a key file. Raises KeyFileError when others may read it or it has no key pair."""
    file = decoded(path, read_secret(path), _KeyFile)
    return _checked_pair(path, file.public_key, file.secret_key)


def save_bundle(bundle: JoinBundle, path: Path) -> None:
    """Write a new bundle, 0600. Raises KeyFileError when it exists or cannot be written."""
    _write_secret(path, document_text(msgspec.structs.asdict(bundle)))


def load_bundle(path: Path) -> JoinBundle:
    """Read a bundle. Raises KeyFileError when others may read it or a value in it is invalid."""
    bundle = decoded(path, read_secret(path), JoinBundle)
    try:
        check_name(bundle.name)
        check_key(bundle.scheduler_public_key)
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from error
    _checked_pair(path, bundle.public_key, bundle.secret_key)
    return bundle


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    public_key: str
    secret_key: str


def _checked_pair(path: Path, public: str, secret: str) -> KeyPair:
    try:
        pair = KeyPair(check_key(public), check_key(secret))
        derived = zmq.curve_public(secret.encode("ascii")).decode("ascii")
    except (ValueError, zmq.ZMQError) as error:
        raise KeyFileError(f"{path}: {error}") from error
    if derived != public:
        raise KeyFileError(f"{path}: the public key does not belong to the secret key")
    return pair


def _write_secret(path: Path, text: str) -> None:
    """The file appears complete and with mode 0600, or not at all."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise KeyFileError(f"{path} exists; it is never overwritten") from None
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from error


def read_secret(path: Path) -> str:
    """Read a small private file. Raises KeyFileError, also where others may open it."""
    try:
        with path.open("rb") as file:
            if not is_private(file.fileno()):
                mode = os.fstat(file.fileno()).st_mode
                raise KeyFileError(
                    f"{path} contains a secret and others can read it (mode "
                    f"{stat.S_IMODE(mode):04o}); make it private with: chmod 600 {path}"
                )
            return bounded_text(path, file.read(MAX_KEY_FILE_BYTES + 1))
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from error


def bounded_text(path: Path, data: bytes) -> str:
    """The text of a small file. Raises KeyFileError when it is too large or no text."""
    if len(data) > MAX_KEY_FILE_BYTES:
        raise KeyFileError(f"{path} is over {MAX_KEY_FILE_BYTES} bytes: not a key file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{path} is not UTF-8 text") from error


def decoded(path: Path, text: str, form: type[F]) -> F:
    """`text` as TOML of the given form. Raises KeyFileError naming `path` and the field."""
    try:
        return msgspec.convert(tomllib.loads(text), form)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise KeyFileError(f"{path}: {error}") from error
