"""Rows into the database: each once, in their order, however many there are."""

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.insertion import insert

metadata = sa.MetaData()
things = sa.Table(
    "things",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text),
    sa.Column("size", sa.Float),
)


@settings(max_examples=40)
@given(st.integers(0, 700) | st.sampled_from([1, 2, 127, 128, 129, 256, 383]))
def test_each_row_is_there_once_in_their_order(n_rows):
    rows = [{"name": f"thing {number}", "size": number / 7 or None} for number in range(n_rows)]
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.begin() as connection:
        insert(connection, things, rows)
        found = connection.execute(sa.select(things.c.name, things.c.size).order_by(things.c.number)).all()
    engine.dispose()
    assert [row._asdict() for row in found] == rows


def test_there_are_few_statements_so_that_they_stay_prepared():
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    statements = []
    sa.event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    with engine.begin() as connection:
        for n_rows in range(1, 300):
            insert(connection, things, [{"name": str(number), "size": 0.0} for number in range(n_rows)])
    engine.dispose()
    assert len(set(statements)) == 8
