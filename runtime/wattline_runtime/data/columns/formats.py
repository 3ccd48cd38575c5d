"""Files that have columns, by the ends of their names."""

from pathlib import PurePosixPath

PACKED = ".gz"
FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".npz", ".npy")
MAY_BE_PACKED = FORMATS[:4]


def format_of(path: str) -> str:
    """`.csv`, also of `a/b.csv.gz`; "" of a file without columns."""
    lowered = PurePosixPath(path.lower())
    if lowered.suffix == PACKED:
        inner = lowered.with_suffix("").suffix
        return inner if inner in MAY_BE_PACKED else ""
    return lowered.suffix if lowered.suffix in FORMATS else ""


def has_columns(path: str) -> bool:
    """Whether a file of this name is read."""
    return bool(format_of(path))
