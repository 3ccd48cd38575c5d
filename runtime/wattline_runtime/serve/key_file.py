"""Reading a CURVE secret key from a file that only its owner may read."""

from pathlib import Path

MAX_KEY_FILE_BYTES = 256


def read_secret(path_text: str) -> str:
    """The z85 key in the file. Raises ValueError if others may read it, OSError if we cannot."""
    if not path_text:
        raise ValueError("no key: set WATTLINE_WORKER_SECRET_FILE or give --secret-file FILE")
    path = Path(path_text)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise ValueError(f"{path} may be read by others (mode {mode:o}); chmod 600 it")
    with path.open("rb") as file:
        return file.read(MAX_KEY_FILE_BYTES).decode("ascii").strip()
