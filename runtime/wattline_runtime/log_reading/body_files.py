"""Files of logged bodies: FOLDER/SERVICE/RETENTION.jsonl, in seconds, and rotated ones."""

import re
from pathlib import Path

from wattline_protocol.text.names import check_name

_FILE = re.compile(r"(\d{1,10})\.jsonl(?:\.[0-9TZ.]+Z)?")


def body_file(folder: Path, retention_s: float) -> Path:
    """The file in the folder of a service. Its name keeps the retention when the service ends."""
    return folder / f"{max(1, round(retention_s))}.jsonl"


def retention_of(file: Path) -> float | None:
    """None: it is no file of bodies."""
    found = _FILE.fullmatch(file.name)
    return None if found is None else float(found[1])


def body_files(folder: Path, service: str) -> list[Path]:
    """Files of a service. Raises ValueError for a name that is none."""
    found = (folder / check_name(service)).glob("*.jsonl*")
    return [path for path in found if retention_of(path) is not None]
