"""Derives a table from a struct: its columns, the row of a record, and the record of a row.

Theory. Columns are typed, so that an operator can query with any SQLite tool. A field of a plain
type is a column, under the name that it has when encoded. A nested struct of plain fields is stored
as its fields; any other tuple, mapping or struct is JSON. JSON columns stand last: SQLite then
reads the other ones without the pages over which a long text extends.

Types are resolved once, at import. A row is then one `attrgetter`, a record one positional
construction, both with a conversion of each column that needs one.
"""

import sqlite3
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
)

import msgspec

from wattline_protocol.wire.clipping import clip_builtins

Row = Sequence[Any]
Convert = Callable[[Any], Any]


class Stored(Protocol):
    """A struct with the names of the fields that identify a record."""

    key: ClassVar[tuple[str, ...]]


R = TypeVar("R", bound=Stored)

_encoder = msgspec.json.Encoder()


def _to_json(value: object) -> str:
    return _encoder.encode(value).decode()


JSON = msgspec.Struct
_TO_DATABASE: dict[type, Convert] = {
    bool: int,
    float: (0.0).__add__,  # converts integers, and removes a negative zero
    JSON: _to_json,
}
"""Converts values to what the database returns for them; those of other types are the same."""


class Column(NamedTuple):
    """One column."""

    name: str
    path: str
    """Attributes from the record to the value."""
    form: Any
    """Type of the field."""
    kind: type
    """`bool`, `int`, `float`, `str`, `bytes`, or `JSON`."""
    is_optional: bool

    @property
    def from_database(self) -> Convert | None:
        """Converts what the database returns; None = it is the value."""
        if self.kind is JSON:
            return _json_reader(self.form)
        return bool if self.kind is bool else None


def _json_reader(form: Any) -> Convert:
    decode = msgspec.json.Decoder(form).decode

    def read(text: str) -> Any:
        try:
            return decode(text)
        except msgspec.ValidationError:  # from before bounds existed: the site still starts
            return msgspec.convert(clip_builtins(msgspec.json.decode(text), form), form)

    return read


def columns_of(struct: type[Any], path: str = "") -> list[Column]:
    """One column for each field; `path` leads from the record to the struct."""
    return [
        Column(field.encode_name, path + field.name, field.type, *_kind(field.type))
        for field in msgspec.structs.fields(struct)
    ]


def _kind(form: Any) -> tuple[type, bool]:
    """Kind of a column, and whether it may be empty."""
    if get_origin(form) is Literal:
        return str, False
    if get_origin(form) is Annotated:
        return _kind(form.__origin__)
    if type(None) in get_args(form):
        (one,) = (one for one in get_args(form) if one is not type(None))
        return _kind(one)[0], True
    plain = getattr(form, "__supertype__", form)
    return (plain if plain in (bool, int, float, str, bytes) else JSON), False


def _is_nested(form: Any) -> bool:
    """Whether a field is stored as the fields of its struct."""
    is_struct = isinstance(form, type) and issubclass(form, msgspec.Struct)
    return is_struct and all(column.kind is not JSON for column in columns_of(form))


class Table(Generic[R]):
    """The table of one type of record. `shown`: more columns, for queries only."""

    def __init__(self, name: str, record: type[R], shown: Sequence[Column] = ()) -> None:
        fields: list[Column] = []
        structs: list[tuple[slice, type[Any]]] = []
        for column in columns_of(record):
            if _is_nested(column.form):
                inner = columns_of(column.form, f"{column.path}.")
                structs.append((slice(len(fields), len(fields) + len(inner)), column.form))
                fields += inner
            else:
                fields.append(column)
        self.name, self.key, self.type = name, record.key, record
        self.columns = sorted((*fields, *shown), key=lambda column: column.kind is JSON)
        self.names = [column.name for column in self.columns]
        self._fields = ", ".join(column.name for column in fields)
        self.row: Callable[[R], list[Any]] = _row_maker(self.columns)
        """Values of a record, in the order of `columns`, as the database returns them."""
        self._record: Callable[[Row], R] = _record_maker(record, fields, structs)

    def upsert(self, *more: str) -> str:
        """Statement that inserts or replaces a row by key; `more`: additional columns."""
        changed = [name for name in (*self.names, *more) if name not in self.key]
        return self.insert(*more) + ", ".join(f"{name} = excluded.{name}" for name in changed)

    def insert(self, *more: str) -> str:
        """Beginning of a statement that inserts a row, or changes that of its key as follows."""
        names = (*self.names, *more)
        return (
            f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "  # noqa: S608 - names of our tables
            f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET "
        )

    def records(
        self, db: sqlite3.Connection, rest: str = "", values: Sequence[object] = ()
    ) -> tuple[R, ...]:
        """Records of the rows that a query returns whose FROM clause is followed by `rest`."""
        rows = db.execute(f"SELECT {self._fields} FROM {self.name} {rest}", values)  # noqa: S608 - constants of this package
        return tuple(map(self._record, rows))


def _row_maker(columns: Sequence[Column]) -> Callable[[Any], list[Any]]:
    values_of = attrgetter(*(column.path for column in columns))
    converts = [
        (place, _TO_DATABASE[column.kind])
        for place, column in enumerate(columns)
        if column.kind in _TO_DATABASE
    ]

    def row(record: object) -> list[Any]:
        values = list(values_of(record))
        for place, convert in converts:
            value = values[place]
            if value is not None:
                values[place] = convert(value)
        return values

    return row


def _record_maker(
    record: type[R], fields: Sequence[Column], structs: Sequence[tuple[slice, type[Any]]]
) -> Callable[[Row], R]:
    found = ((place, column.from_database) for place, column in enumerate(fields))
    converts = [(place, convert) for place, convert in found if convert is not None]

    def make(row: Row) -> R:
        values = list(row)
        for place, convert in converts:
            value = values[place]
            if value is not None:
                values[place] = convert(value)
        for span, struct in reversed(structs):
            values[span] = [struct(*values[span])]
        return record(*values)

    return make
