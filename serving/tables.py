"""The tables of the service, and how those of an earlier version are brought forward."""

import sqlalchemy as sa

from serving.engines import Store

metadata = sa.MetaData()


def _number() -> sa.Column[int]:
    """Of a row, in the order in which rows were committed; none has that of another, not of a removed one."""
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column("number", kind, primary_key=True, autoincrement=True)


events = sa.Table(
    "events",
    metadata,
    _number(),
    sa.Column("event_id", sa.Text, nullable=False, unique=True),
    sa.Column("user_id", sa.Text, nullable=False, index=True),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),  # "": none
    sa.Column("value", sa.Float),
    sqlite_autoincrement=True,
)

feedback = sa.Table(
    "feedback",
    metadata,
    _number(),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),  # "": of the shop as a whole
    sa.Column("nps", sa.Integer, nullable=False),
    sa.UniqueConstraint("user_id", "at_us", "service_id"),
    sqlite_autoincrement=True,
)

decisions = sa.Table(
    "decisions",
    metadata,
    _number(),
    sa.Column("decision_id", sa.Text, nullable=False, unique=True),
    sa.Column("request_id", sa.Text, unique=True),
    sa.Column("request_hash", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False, index=True),  # "": a deleted user's
    sa.Column("record", sa.Text, nullable=False),  # JSON: what was decided, and all that led to it
    sa.Column("bundle", sa.Text, nullable=False, server_default=""),  # the hash of the one that decided
    sa.Column("decided_at_us", sa.BigInteger),
    sqlite_autoincrement=True,
)

kept = sa.Table(
    "kept",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),  # of kind and content
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
)

exposures = sa.Table(
    "exposures",
    metadata,
    _number(),
    sa.Column("slate_id", sa.Text, nullable=False),  # the decision_id
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),  # without an index: a page of the disk for each decision
    sa.Column("shown_at_us", sa.BigInteger, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),  # "": nothing was shown
    sa.Column("propensity", sa.Float, nullable=False),
    sa.Column("slate_propensity", sa.Float, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("arm", sa.Text, nullable=False),
    sa.UniqueConstraint("slate_id", "position"),
    sqlite_autoincrement=True,
)

deleted_users = sa.Table(
    "deleted_users",
    metadata,
    _number(),
    sa.Column("user_hash", sa.Text, nullable=False, unique=True),  # keyed: the id itself is not kept
    sqlite_autoincrement=True,
)

spent = sa.Table(
    "spent",  # what users who were deleted since were shown: budgets count it, whoever it was
    metadata,
    sa.Column("at_us", sa.BigInteger, nullable=False),  # the beginning of its hour
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("tier", sa.Text, nullable=False),
    sa.Column("uptake", sa.Float, nullable=False),
    sa.Column("cost", sa.Float, nullable=False),
    sa.Column("used_at_us", sa.BigInteger),
)

rejected = sa.Table(
    "rejected",  # rows of POST /events that were refused: the last of them, without what they said of others
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("came_at_us", sa.BigInteger, nullable=False),
    sa.Column("row_number", sa.Integer, nullable=False),  # in its request, from 1
    sa.Column("column_name", sa.Text, nullable=False),  # "": the row as a whole
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("remedy", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False, index=True),  # "": it named nobody who could be removed
    sa.Column("content", sa.Text, nullable=False),  # JSON; "" where user_id is
)

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

FOLLOWED = (events, feedback, decisions, exposures, deleted_users)  # by their numbers, in this order

SCHEMA = 5  # of the tables above; 0: none yet, or SQLite's first
_MIGRATIONS = {  # from the schema of this number to the next
    1: (
        "ALTER TABLE decisions ADD COLUMN bundle TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE decisions ADD COLUMN decided_at_us BIGINT",
        "UPDATE decisions SET bundle = coalesce(json_extract(record, '$.bundle'), ''), decided_at_us = "
        "(SELECT min(shown_at_us) FROM exposures WHERE slate_id = decision_id)",
    ),
    2: (),  # tables alone, which are made where they are not there
    3: (),  # numbers: _number_rows
    4: ("DROP INDEX IF EXISTS ix_exposures_user_id",),
}


def migrate(store: Store) -> int:
    """Bring an older schema to the one above, in one transaction; the number of a newer one, else 0."""
    with store.engine.begin() as connection:
        found = store.schema(connection)
        if found > SCHEMA:
            return found
        is_there = sa.inspect(connection).has_table(decisions.name)
        if is_there:
            for step in range(max(found, 1), SCHEMA):
                for statement in _MIGRATIONS[step]:
                    connection.exec_driver_sql(statement)
        if is_there and found < 4:
            _number_rows(connection)
        metadata.create_all(connection)
        if found < SCHEMA:  # else nothing is written: a full disk keeps no service from starting
            store.keep_schema(connection, SCHEMA)
    return 0


def _number_rows(connection: sa.Connection) -> None:
    """Give each row of the followed tables its number: SQLite's are made anew, PostgreSQL's grow a column."""
    for table in FOLLOWED:
        if not sa.inspect(connection).has_table(table.name):
            continue
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                f"ALTER TABLE {table.name} ADD COLUMN IF NOT EXISTS number BIGSERIAL UNIQUE"
            )
            continue
        for index in table.indexes:
            connection.exec_driver_sql(f"DROP INDEX IF EXISTS {index.name}")
        connection.exec_driver_sql(f"ALTER TABLE {table.name} RENAME TO before_numbers")
        table.create(connection)
        names = ", ".join(column.name for column in table.columns if column.name != "number")
        connection.exec_driver_sql(
            f"INSERT INTO {table.name} ({names}) SELECT {names} FROM before_numbers ORDER BY rowid"
        )
        connection.exec_driver_sql("DROP TABLE before_numbers")


def newest_numbers(connection: sa.Connection) -> tuple[int, ...]:
    """The highest number of each of the followed tables; 0 where there is no row."""
    return tuple(connection.exec_driver_sql(_NEWEST).one())


_NEWEST = "SELECT " + ", ".join(f"(SELECT coalesce(max(number), 0) FROM {table.name})" for table in FOLLOWED)
