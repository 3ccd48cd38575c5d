"""Readers of CSV, JSON lines, Parquet and NPZ: kinds of values, batches, hostile files."""

import gzip
import io
import json
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from wattline_runtime.data.columns import reader_process
from wattline_runtime.data.columns.reader_process import FileToRead, read_summary
from wattline_runtime.data.columns.readers import csv_reader, jsonl_reader
from wattline_runtime.data.columns.summarize import DataFile, summarize
from wattline_runtime.data.columns.summary import Summary, Table
from wattline_runtime.data.columns.summary_file import encode_summary

MIB = 1024 * 1024


def summary(**files: bytes) -> Summary:
    """Of files by name, in which `__` stands for the dot."""
    return summarize(
        DataFile(name.replace("__", "."), partial(io.BytesIO, data)) for name, data in files.items()
    )


def table(name: str, data: bytes) -> Table:
    found = summary(**{name: data})
    assert not found.unreadable
    (only,) = found.tables.values()
    return only


def types(found: Table) -> dict[str, str]:
    return {name: column.type for name, column in found.columns.items()}


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def parquet_bytes(columns: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    parquet.write_table(columns, file, **options)
    return file.getvalue()


CSV = b"""id,weight,sex,code,born,note,fast
1,0.5,f,007,2001-02-03,"a, ""b""\nc",true
2,NaN,m,012,2001-02-04,,False
-3,1e3,f,1,2001-02-03T10:00:00Z,inf,TRUE
"""


def test_kinds_of_csv() -> None:
    found = table("x__csv", CSV)
    assert found.rows == 3
    assert types(found) == {
        "id": "integer",
        "weight": "float",
        "sex": "text",
        "code": "integer or text",
        "born": "time",
        "note": "infinite or text",
        "fast": "boolean",
    }
    assert (found.columns["id"].low, found.columns["id"].high) == (-3, 2)
    assert found.nulls("weight") == pytest.approx(1 / 3)
    assert dict(found.columns["fast"].values.values) == {"true": 2, "false": 1}
    packed = table("x__csv__gz", gzip.compress(CSV))
    assert encode_summary(Summary({"t": found})) == encode_summary(Summary({"t": packed}))


def test_numbers_alone_are_no_header() -> None:
    found = table("x__tsv", b"1\t2.5\n3\t4\n")
    assert (found.rows, types(found)) == (2, {"column 1": "integer", "column 2": "float"})


def test_kinds_of_jsonl() -> None:
    lines = [
        {"a": 1, "b": "x", "user": {"age": 3, "tags": ["p"]}},
        {"a": 2.5, "b": None, "user": {"age": 10**400}},
        {"a": float("nan"), "b": "2026-01-31", "deep": {"a": {"b": {"c": {"d": 1}}}}},
        {"a": True},
    ]
    found = table("x__jsonl", b"\n\n".join(json.dumps(line).encode() for line in lines))
    assert found.rows == 4
    assert types(found) == {
        "a": "float or boolean",
        "b": "text or time",
        "user.age": "integer or infinite",
        "user.tags": "list",
        "deep.a.b.c": "object",
    }
    assert found.nulls("b") == 0.5


def test_kinds_of_parquet() -> None:
    found = table(
        "x__parquet",
        parquet_bytes(
            pa.table(
                {
                    "i": pa.array([1, None, 3], pa.int8()),
                    "f": [0.5, float("nan"), None],
                    "s": ["a", "a", None],
                    "b": [True, None, False],
                    "t": pa.array([0, 1, None], pa.timestamp("s")),
                    "l": [[1], None, []],
                    "n": pa.nulls(3),
                    "o": [{"x": 1, "y": "a"}, None, {"x": None, "y": "b"}],
                    "d": pa.array(["p", "q", "p"]).dictionary_encode(),
                }
            ),
            row_group_size=2,
        ),
    )
    assert found.rows == 3
    assert [*types(found).items()] == [
        *(("i", "integer"), ("f", "float"), ("s", "text"), ("b", "boolean"), ("t", "time")),
        *(("l", "list"), ("n", "null"), ("o.x", "integer"), ("o.y", "text"), ("d", "text")),
    ]
    assert found.nulls("f") == pytest.approx(2 / 3)
    assert dict(found.columns["d"].values.values) == {"p": 2, "q": 1}


def test_kinds_of_npz() -> None:
    found = summary(
        digits__npz=npz(
            x=np.arange(6.0).reshape(3, 2),
            by_column=np.asfortranarray(np.arange(6).reshape(3, 2)),
            images=np.zeros((3, 20, 20), np.uint8),
            y=np.array(["a", "b", "a"]),
            ok=np.array([True, False, True]),
            at=np.array(["2026-01-01", "NaT"], "M8[D]"),
            pair=np.array([(1, 2.5)], [("p", "i4"), ("q", "f4")]),
        )
    )
    assert not found.unreadable
    rows = {name.partition("/")[2]: one.rows for name, one in found.tables.items()}
    assert rows == {"x": 3, "by_column": 3, "images": 3, "y": 3, "ok": 3, "at": 2, "pair": 1}
    every = {name: one for t in found.tables.values() for name, one in t.columns.items()}
    assert [(name, one.type) for name, one in every.items()] == [
        *(("x[0]", "float"), ("x[1]", "float")),
        *(("by_column[0]", "integer"), ("by_column[1]", "integer")),
        *(("images", "integer"), ("y", "text"), ("ok", "boolean"), ("at", "time")),
        *(("pair.p", "integer"), ("pair.q", "float")),
    ]
    for name in ("x", "by_column"):
        assert [(every[f"{name}[{at}]"].low, every[f"{name}[{at}]"].high) for at in (0, 1)] == [
            (0, 4),
            (1, 5),
        ]
    assert every["images"].count == 1200
    assert found.tables["digits.npz/images"].nulls("images") == 0


def test_files_that_differ_in_numbers_are_one_table() -> None:
    found = summary(part_1__csv=b"a\n1\n", part_22__csv=b"a,b\n2,3\n", other__csv=b"a\nx\n")
    assert {name: (one.files, one.rows) for name, one in found.tables.items()} == {
        "part_*.csv": (2, 2),
        "other.csv": (1, 1),
    }
    assert found.tables["part_*.csv"].nulls("b") == 0.5


@pytest.mark.parametrize("module", [csv_reader, jsonl_reader], ids=["csv", "jsonl"])
def test_batches_make_no_difference(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"a": at % 7, "b": f"v{at % 5}", "c": at / 3} for at in range(2_000)]
    if module is csv_reader:
        lines = ["a,b,c", *(",".join(map(str, row.values())) for row in rows)]
        name, bound = "x__csv", "BATCH_BYTES"
    else:
        lines, name, bound = [json.dumps(row) for row in rows], "x__jsonl", "BATCH_BYTES"
    data = "\n".join(lines).encode()
    whole = encode_summary(summary(**{name: data}))
    monkeypatch.setattr(module, bound, 256)
    assert encode_summary(summary(**{name: data})) == whole


def truncated_npz() -> bytes:
    data = npz(x=np.random.default_rng(0).normal(size=1_000))
    return data[: len(data) // 2]


def npz_of(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return file.getvalue()


def npy_header(shape: str, dtype: str = "<f8") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def bomb() -> bytes:
    """Claims, in the directory of the file, to be 8 TiB."""
    data = bytearray(npz_of("x.npy", npy_header("(1099511627776,)") + bytes(8 * MIB)))
    at = data.rfind(b"PK\1\2")
    data[at + 24 : at + 28] = (0xFFFF_FFF0).to_bytes(4, "little")
    return bytes(data)


def many_members() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for at in range(20_000):
            archive.writestr(f"{at}.npy", b"")
    return file.getvalue()


def long_footer() -> bytes:
    return b"PAR1" + bytes(20 * MIB) + (20 * MIB).to_bytes(4, "little") + b"PAR1"


HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty csv": ("x__csv", lambda: b"", "empty"),
    "ragged csv": ("x__csv", lambda: b"a,b\n1,2\n3,secret,5\n", "row 3 has 3 fields"),
    "open quote": ("x__csv", lambda: b'a,b\n1,"' + b"x" * (9 * MIB), "longer than 4 MiB"),
    "latin-1": ("x__csv", lambda: b"a\n\xe9t\xe9\n", "UTF-8"),
    "columns of csv": ("x__csv", lambda: b"c," * 1_000_000 + b"\n", "2,000 columns"),
    "a name twice": ("x__csv", lambda: b"a,b,a\n1,2,3\n", "more than once, as 'a'"),
    "binary csv": ("x__csv", lambda: bytes(range(256)) * 100, "UTF-8"),
    "not gzip": ("x__csv__gz", lambda: b"a,b\n1,2\n", "not valid gzip"),
    "half gzip": ("x__jsonl__gz", lambda: gzip.compress(b'{"a": 1}\n' * 99)[:-20], "gzip"),
    "no json": ("x__jsonl", lambda: b'{"a": 1}\n{"a": secret}\n', "line 2 is not valid JSON"),
    "no object": ("x__jsonl", lambda: b"[1]\n", "line 1 is no object"),
    "deep json": ("x__jsonl", lambda: b'{"a":' * 100_000 + b"1", "line 1 is not valid JSON"),
    "digits": ("x__jsonl", lambda: b'{"a": ' + b"9" * 100_000 + b"}", "line 1 is not valid"),
    "long line": ("x__jsonl", lambda: b'{"a": "' + b"x" * (5 * MIB), "line 1 is longer"),
    "columns of jsonl": (
        "x__jsonl",
        lambda: b"\n".join(b'{"c%d": 1}' % at for at in range(1_000_000)),
        "more than 2,000 columns by line 2001",
    ),
    "long name": ("x__jsonl", lambda: b'{"%s": 1}' % (b"k" * 300), "longer than 256 characters"),
    "no parquet": ("x__parquet", lambda: b"PAR1" + bytes(100), "not Parquet"),
    "broken parquet": ("x__parquet", lambda: b"PAR1" + b"\xff" * 90 + b"\x20\0\0\0PAR1", "Parquet"),
    "long footer": ("x__parquet", long_footer, "footer is cut off, or longer than 16 MiB"),
    "columns of parquet": (
        "x__parquet",
        lambda: parquet_bytes(pa.table({f"c{at}": [1] for at in range(2_001)})),
        "2,001 columns",
    ),
    "pickled": ("x__npz", lambda: npz(x=np.array([{"a": 1}], object)), "pickled objects"),
    "half npz": ("x__npz", truncated_npz, "not a valid NPZ file"),
    "no npz": ("x__npz", lambda: b"hello", "not a valid NPZ file"),
    "bomb": ("x__npz", bomb, "a bomb"),
    "lie": ("x__npz", lambda: npz_of("x.npy", npy_header("(1000000000000,)")), "truncated"),
    "negative": ("x__npz", lambda: npz_of("x.npy", npy_header("(-5,)")), "negative length"),
    "wide item": ("x__npz", lambda: npz_of("x.npy", npy_header("(1,)", "<U99999999")), "items of"),
    "long array": ("x__npz", lambda: npz_of("x" * 9_000 + ".npy", b""), "longer than 256"),
    "no array": ("x__npz", lambda: npz_of("x.exe", b"MZ"), "no array"),
    "no header": ("x__npz", lambda: npz_of("x.npy", b"hello"), "no valid header"),
    "open header": ("x__npy", lambda: npy_header("((1,)"), "no valid header"),
    "no characters": (
        "x__npy",
        lambda: npy_header("(1,)", ">U1") + b"\xff\0\0\0",
        "texts that are not Unicode",
    ),
    "members": ("x__npz", many_members, "too many arrays"),
    "half npy": ("x__npy", lambda: npy_header("(9,)") + bytes(64), "truncated"),
}


@pytest.mark.parametrize("shape", ["(5, 0)", "(5, 3, 0)"])
def test_an_array_without_values_has_rows(shape: str) -> None:
    table = summary(x__npy=npy_header(shape)).tables["x.npy/array"]
    assert (table.rows, table.columns) == (5, {})


def test_a_field_without_values_is_no_column() -> None:
    array = np.zeros(2, [("a", "f4"), ("b", "f4", (0,))])
    table = summary(x__npz=npz(x=array)).tables["x.npz/x"]
    assert list(table.columns) == ["x.a"]


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(case: str) -> None:
    name, make, expected = HOSTILE[case]
    data = make()
    tracemalloc.start()
    found = summary(good__csv=b"a\n1\n", **{name: data})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(found.tables) == ["good.csv"], "nothing of a file that cannot be read counts"
    (why,) = found.unreadable.values()
    assert expected in why
    assert "secret" not in why
    assert peak < 64 * MIB


def test_an_error_of_the_disk_is_named() -> None:
    def fail() -> BinaryIO:
        raise OSError(5, "Input/output error")

    assert summarize([DataFile("x.csv", fail)]).unreadable == {"x.csv": "Input/output error"}


KILLED_BY_A_FILE = """
import os, signal
from wattline_runtime.data.columns import __main__ as program

read = program.summarize
def read_or_die(files):
    if "AWS_SECRET_ACCESS_KEY" in os.environ or files[0].path == "bad.csv":
        os.kill(os.getpid(), signal.SIGSEGV)
    return read(files)
program.summarize = read_or_die
program.main()
"""


def test_a_file_that_ends_its_reader_costs_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (sys.executable, "-c", KILLED_BY_A_FILE)
    monkeypatch.setattr(reader_process, "COMMAND", command)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "is nothing for its readers")
    path = tmp_path / "x.csv"
    path.write_bytes(b"a\n1\n2\n")
    names = ("one.csv", "bad.csv", "two.csv", "gone.csv")
    found = read_summary(
        FileToRead(name, str(path if name != "gone.csv" else tmp_path / name)) for name in names
    )
    assert {name: one.rows for name, one in found.tables.items()} == {"one.csv": 2, "two.csv": 2}
    assert found.unreadable.keys() == {"bad.csv", "gone.csv"}
    assert "SIGSEGV" in found.unreadable["bad.csv"]
    assert found.unreadable["gone.csv"] == "No such file or directory"
