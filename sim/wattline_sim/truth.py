"""The record of true power: one fixed-size record per node and second of CLOCK_MONOTONIC.

Seconds are whole seconds of the monotonic clock, so the records of all nodes on one host line up
and can be summed. The file begins with a header; it is append-only, and at ``SIZE_MAX`` it is
renamed to ``truth.1``, replacing an older one.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"WTRUTH1\n"
_HEADER = struct.Struct("<8sI4x")
SIZE_MAX = 64 << 20  # about a week of an 8-GPU node
GPUS_MAX = 64


class TruthError(ValueError):
    """The file is not a truth record."""


@dataclass(frozen=True, slots=True)
class TruthSample:
    """One second of one node. ``monotonic_s`` is the end of the second on ``time.monotonic()``'s
    scale; powers are true averages over it; ``cap_mw`` is the highest limit that was enforced in
    it, and ``reasons`` the union of the clock event bits."""

    monotonic_s: float
    wall_w: float
    gpu_w: tuple[float, ...]
    cap_mw: tuple[int, ...]
    reasons: tuple[int, ...]


def record_struct(gpus: int) -> struct.Struct:
    """The layout of a record of a node with that many GPUs."""
    return struct.Struct(f"<dd{gpus}f{gpus}I{gpus}I")


def read(directory: Path | str) -> Iterator[TruthSample]:
    """Yield the samples recorded for the node in ``directory``, oldest first.

    A record that is still being written is left out. A node that has recorded nothing yet yields
    nothing. Raises TruthError when a file is not a truth record.
    """
    for name in ("truth.1", "truth"):
        path = Path(directory) / name
        if path.exists():
            yield from _read_file(path)


def _read_file(path: Path) -> Iterator[TruthSample]:
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return
        magic, gpus = _HEADER.unpack(head)
        if magic != _MAGIC or not 1 <= gpus <= GPUS_MAX:
            raise TruthError(f"{path} is not a truth record")
        record = record_struct(gpus)
        while len(chunk := file.read(record.size)) == record.size:
            values = record.unpack(chunk)
            yield TruthSample(
                monotonic_s=values[0],
                wall_w=values[1],
                gpu_w=values[2 : 2 + gpus],
                cap_mw=values[2 + gpus : 2 + 2 * gpus],
                reasons=values[2 + 2 * gpus :],
            )


class TruthWriter:
    """Appends samples to ``path``, each in one write. One writer at a time."""

    def __init__(self, path: Path, gpus: int) -> None:
        self._path, self._gpus = path, gpus
        self._record = record_struct(gpus)
        self._file = path.open("ab", buffering=0)
        self._begin()

    def _begin(self) -> None:
        """Write the header of a new file; trim a record that a killed writer left half done."""
        size = self._file.tell()
        if size == 0:
            self._file.write(_HEADER.pack(_MAGIC, self._gpus))
            return
        rest = (size - _HEADER.size) % self._record.size
        if rest:
            self._file.truncate(size - rest)

    def append(self, sample: TruthSample) -> None:
        """Record one second."""
        if self._file.tell() >= SIZE_MAX:
            self._file.close()
            self._path.replace(self._path.with_suffix(".1"))
            self._file = self._path.open("ab", buffering=0)
            self._begin()
        self._file.write(
            self._record.pack(
                sample.monotonic_s, sample.wall_w, *sample.gpu_w, *sample.cap_mw, *sample.reasons
            )
        )

    def close(self) -> None:
        """Release the file."""
        self._file.close()
