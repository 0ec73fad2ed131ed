"""Rows into the database, many in one statement."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import sqlalchemy as sa

_MOST = 128  # rows of one statement; databases take some ten thousand values in one


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the same columns, in this order.

    For each statement the driver lets go of the interpreter, and then waits until the event loop, busy as
    it may be, gives it back: a statement for each row is many waits. Powers of two keep the statements
    few, so that they stay prepared. They go to the driver as they are: what SQLAlchemy makes of each row
    takes as long again.
    """
    start = 0
    while start < len(rows):
        n_rows = min(1 << (len(rows) - start).bit_length() - 1, _MOST)
        some, start = rows[start : start + n_rows], start + n_rows
        statement = _insertion(table, tuple(some[0]), n_rows, connection.dialect.paramstyle)
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(row.values() for row in some)))


@lru_cache
def _insertion(table: sa.Table, columns: Sequence[str], n_rows: int, paramstyle: str) -> str:
    row = ", ".join(["?" if paramstyle == "qmark" else "%s"] * len(columns))
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES {', '.join([f'({row})'] * n_rows)}"
