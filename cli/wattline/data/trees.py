"""Data sets as folders or files of this machine."""

import os
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

from wattline import exits
from wattline.failures import ActFailed
from wattline_runtime.data.columns.formats import has_columns
from wattline_runtime.data.columns.reader_process import FileToRead, read_summary
from wattline_runtime.data.columns.rules import MAX_RULES_BYTES, RULES_FILE, Rules, parse_rules
from wattline_runtime.data.columns.summary import Summary


class Tree(NamedTuple):
    """Regular files by their paths in the data set; links are not followed."""

    name: str
    files: dict[str, Path]

    def summary(self) -> Summary:
        """Raises ActFailed where no file has columns."""
        if not any(map(has_columns, self.files)):
            raise ActFailed(
                f"{self.name} has nothing to check: no .csv, .tsv, .jsonl, .parquet, .npz or .npy"
            )
        read = (FileToRead(path, str(at)) for path, at in self.files.items() if has_columns(path))
        return read_summary(read)

    def hashes(self) -> dict[str, str]:
        """SHA-256 by path."""
        try:
            return {path: _sha256(at) for path, at in self.files.items()}
        except OSError as error:
            raise _unreadable(error) from error

    def rules(self) -> Rules:
        """Those that travel with it, or the defaults."""
        return read_rules(self.files[RULES_FILE]) if RULES_FILE in self.files else Rules()


def tree_at(name: str) -> Tree:
    """Of a folder, or of one file. Raises ActFailed."""
    top = Path(name)
    try:
        if top.is_dir():
            return Tree(name, {at.relative_to(top).as_posix(): at for at in _regular(top)})
        if top.is_file():
            return Tree(name, {f"data{''.join(top.suffixes)}": top})
    except OSError as error:
        raise _unreadable(error) from error
    raise ActFailed(f"{name}: no such folder or file", exits.NOT_FOUND)


def read_rules(path: Path) -> Rules:
    """Raises ActFailed, or DocumentError with the lines that are wrong."""
    try:
        if path.stat().st_size > MAX_RULES_BYTES:
            raise ActFailed(f"{path} is longer than {MAX_RULES_BYTES >> 20} MiB", exits.USAGE)
        return parse_rules(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ActFailed(f"{path} is not UTF-8", exits.USAGE) from error
    except OSError as error:
        raise _unreadable(error) from error


def _regular(top: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(top, onerror=fail):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _unreadable(error: OSError) -> ActFailed:
    return ActFailed(f"{error.filename or 'a file'}: {error.strerror}", exits.NOT_FOUND)
