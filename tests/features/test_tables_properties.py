"""What holds for every data folder, however broken its rows."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from features.tables import TABLES, read_pieces, write_table
from offers.settings import MoneySettings
from tests.features.shop import AT, NOW, SHOP, load, shop

CELLS = {
    "id": st.sampled_from(
        ["ann", "bob", "eve", "wash", "fold", "007", "NA", "null", "", " ", "🙂", "l\nm", 'q"']
    ),
    "time": st.sampled_from([AT, "2023-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "2024-02-01", "soon", ""]),
    "number": st.sampled_from(["0.5", "1", "11", "0", "-1", "1e308", "NaN", "inf", "1.5", "x", "", "1,5"]),
}
KIND_OF = {
    **dict.fromkeys(["joined_at", "ordered_at", "at", "shown_at"], "time"),
    **dict.fromkeys(["amount", "unit_cost", "value", "propensity", "nps"], "number"),
}


@st.composite
def broken_shops(draw):
    """For each table of the shop its good rows, and after them rows of cells good and bad."""
    tables = {}
    for name, text in SHOP.items():
        header, *good = [line.split(",") for line in text.splitlines()]
        row = st.tuples(*(CELLS[KIND_OF.get(column, "id")] for column in header))
        tables[name] = pd.DataFrame(good + draw(st.lists(row, max_size=5)), columns=header, dtype="str")
    return tables


@settings(max_examples=15, deadline=None)
@given(broken_shops(), st.sampled_from(["csv", "parquet"]))
def test_every_row_that_was_read_is_accepted_or_quarantined(tables, suffix):
    with tempfile.TemporaryDirectory() as folder:
        for name, frame in tables.items():
            if suffix == "csv":
                frame.to_csv(Path(folder) / f"{name}.csv", index=False)
            else:
                write_table(Path(folder), name, frame)
        loaded = load(Path(folder))
    assert [count.table for count in loaded.counts] == list(TABLES)
    for count in loaded.counts:
        lines = loaded.quarantine[loaded.quarantine["table"] == count.table]
        assert count.read == len(tables[count.table])
        assert count.accepted + count.quarantined == count.read
        assert count.accepted == len(getattr(loaded, count.table))
        assert count.quarantined == len(lines[["file", "row"]].drop_duplicates())
        assert not lines.duplicated(["file", "row", "column"]).any()


@settings(max_examples=8, deadline=None)
@given(broken_shops())
def test_rows_that_were_accepted_are_accepted_again(tables):
    with tempfile.TemporaryDirectory() as folder:
        texts = {name: frame.to_csv(index=False) for name, frame in tables.items()}
        first = load(shop(Path(folder), **texts))
        bad = first.quarantine.groupby("table")["row"].agg(set)
        good = {
            name: frame.drop(index=[row - 1 for row in bad.get(name, ())]) for name, frame in tables.items()
        }
        second = load(shop(Path(folder), **{name: frame.to_csv(index=False) for name, frame in good.items()}))
    assert len(second.quarantine) == 0
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))


@settings(max_examples=10, deadline=None)
@given(broken_shops(), st.sampled_from(["csv", "parquet"]), st.integers(1, 4))
def test_pieces_of_any_size_are_the_tables(tables, suffix, n_rows):
    with tempfile.TemporaryDirectory() as folder:
        for name, frame in tables.items():
            if suffix == "csv":
                frame.to_csv(Path(folder) / f"{name}.csv", index=False)
            else:
                write_table(Path(folder), name, frame)
        whole = load(Path(folder))
        pieces = list(read_pieces(Path(folder), MoneySettings(margin_rate=0.5), NOW, n_rows))
    assert list(dict.fromkeys(piece.table for piece in pieces)) == list(TABLES)
    for name in TABLES:
        own = [piece for piece in pieces if piece.table == name]
        frame = pd.concat([piece.frame for piece in own], ignore_index=True)
        pd.testing.assert_frame_equal(frame, getattr(whole, name))
        if name not in ("users", "services"):
            users = np.concatenate([piece.user for piece in own])
            assert whole.users["user_id"].iloc[users].tolist() == frame["user_id"].tolist()
    lines = pd.concat([piece.quarantine for piece in pieces], ignore_index=True)
    by = ["table", "file", "row", "column"]
    pd.testing.assert_frame_equal(
        lines.sort_values(by, ignore_index=True), whole.quarantine.sort_values(by, ignore_index=True)
    )
