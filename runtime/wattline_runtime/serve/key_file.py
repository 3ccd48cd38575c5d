"""Reads a CURVE secret key from a file that only its owner may read."""

from pathlib import Path

import zmq

from wattline_protocol.trust.keys import KeyPair, check_key

MAX_KEY_FILE_BYTES = 256


def read_secret(path_text: str) -> KeyPair:
    """The key in the file (z85) with its public half.

    Raises ValueError if others may read it or it is no key, OSError if we cannot read it.
    """
    if not path_text:
        raise ValueError("no key: set WATTLINE_WORKER_SECRET_FILE or --secret-file FILE")
    path = Path(path_text)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise ValueError(f"{path} may be read by others (mode {mode:o}); chmod 600 it")
    with path.open("rb") as file:
        text = file.read(MAX_KEY_FILE_BYTES).decode("ascii", "replace").strip()
    try:
        secret = check_key(text)
        public = zmq.curve_public(secret.encode("ascii"))
    except (ValueError, zmq.ZMQError) as error:
        raise ValueError(f"{path}: {error}") from error
    return KeyPair(public.decode("ascii"), secret)
