"""Files and folders of a table: parts, and everything that makes a table unusable and stops the run."""

import pandas as pd
import pytest

from features.tables import TableError, load_tables, write_table
from offers.settings import MoneySettings
from tests.features.shop import AT, SHOP, count_of, faults, load, shop

ORDERS = pd.DataFrame(
    {"order_id": ["o1", "o2"], "user_id": "ann", "ordered_at": pd.Timestamp(AT), "amount": [1.0, -2.0]}
)


def test_a_table_may_be_a_folder_of_parts_and_each_counts_its_own_rows(tmp_path):
    folder = shop(tmp_path, orders=None)
    write_table(folder / "orders", "orders", ORDERS).rename(folder / "orders" / "part-1.parquet")
    text = f"{SHOP['orders'].replace('o1', 'o3')}o4,eve,{AT},1\no5,ann,{AT},1,1\no6,ann,{AT},6\n"
    (folder / "orders" / "part-0.csv").write_text(text)
    (folder / "orders" / "_SUCCESS").write_text("")
    tables = load(folder)
    assert tables.orders["order_id"].tolist() == ["o3", "o6", "o1"]
    assert count_of(tables, "orders") == (6, 3, 3)
    places = tables.quarantine[["file", "row", "rule"]].values.tolist()
    assert places == [
        ["orders/part-0.csv", 2, "known_user"],
        ["orders/part-0.csv", 3, "cells"],
        ["orders/part-1.parquet", 2, "not_negative"],
    ]


def test_parts_may_differ_in_their_unknown_columns_and_in_the_types_of_them(tmp_path):
    folder = shop(tmp_path, users=None)
    joined = pd.Timestamp("2024-01-01", tz="UTC")
    parts = [{"user_id": ["ann"], "age": [31]}, {"user_id": ["bob"], "age": ["40"]}, {"user_id": ["cid"]}]
    for number, part in enumerate(parts):
        path = write_table(folder / "users", "users", pd.DataFrame(part).assign(joined_at=joined))
        path.rename(folder / "users" / f"{number}.parquet")
    assert load(folder).users["age"].tolist()[:2] == [31.0, 40.0]
    assert load(folder).users["age"].isna().tolist() == [False, False, True]


def test_rows_are_counted_without_header_and_blank_lines(tmp_path):
    text = f'\ufeff{SHOP["orders"]}\n"o\n2",ann,{AT},2\n\no3,ann,{AT},x'
    tables = load(shop(tmp_path, orders=text))
    assert tables.orders["order_id"].tolist() == ["o1", "o\n2"]
    assert faults(tables) == [("orders", 3, "amount", "number", "x")]


@pytest.mark.parametrize("name", ["events", "exposures", "feedback"])
def test_an_optional_table_may_hold_no_row(tmp_path, name):
    header = SHOP[name].splitlines()[0]
    assert count_of(load(shop(tmp_path, **{name: header})), name) == (0, 0, 0)


UNUSABLE = [
    ({"users": None}, r"must hold the table users as .* or a folder users/ .* found .*orders.csv"),
    ({"orders": ""}, r"orders.csv is empty \(0 bytes\)"),
    ({"feedback": ""}, r"feedback.csv is empty \(0 bytes\)"),
    ({"orders": SHOP["orders"].splitlines()[0]}, r"orders.csv must hold at least one row, found none"),
    (
        {"users": "user_id,joined\nann,x\n"},
        r"users.csv must have the column joined_at of users, found user_id, joined. Is it joined\? Rename",
    ),
    ({"feedback": "user_id,at\nann,x\n"}, r"must have the column nps of feedback, found user_id, at\."),
    ({"users": "user_id,joined_at,age,age\nann,x,1,2\n"}, r"must name each column once, found age twice"),
    (
        {"orders": SHOP["orders"].replace("amount", "amount,amount_cents")},
        r"orders.csv must not have the column amount_cents, found it",
    ),
    (
        {"orders": SHOP["orders"] + f'o2,"ann,{AT},1\no3,ann,{AT},1\n'},
        r'orders.csv opens a quotation mark " that is never closed',
    ),
]


@pytest.mark.parametrize("tables, message", UNUSABLE)
def test_an_unusable_table_stops_the_run_and_names_itself(tmp_path, tables, message):
    with pytest.raises(TableError, match=message):
        load(shop(tmp_path, **tables))


@pytest.mark.parametrize("encoding", ["utf-16", "gbk"])
def test_a_csv_file_of_another_encoding_stops_the_run(tmp_path, encoding):
    shop(tmp_path)
    (tmp_path / "users.csv").write_bytes(SHOP["users"].replace("ann", "顾客").encode(encoding))
    with pytest.raises(TableError, match=r"users.csv cannot be read as CSV in UTF-8 \(.*UTF.?8 text: export"):
        load(tmp_path)


@pytest.mark.parametrize("kept", [4, 100, -1])
def test_a_truncated_parquet_file_stops_the_run(tmp_path, kept):
    path = write_table(shop(tmp_path, orders=None), "orders", ORDERS)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        TableError, match=r"orders.parquet cannot be read as Parquet \(.*\). It may be truncated"
    ):
        load(tmp_path)


def test_parquet_text_that_is_not_utf8_stops_the_run(tmp_path):
    path = write_table(shop(tmp_path, orders=None), "orders", ORDERS.assign(order_id=["Zürich", "Zürich-2"]))
    path.write_bytes(path.read_bytes().replace("ü".encode(), b"\xff\xff"))
    with pytest.raises(TableError, match=r"orders.parquet cannot be read as Parquet"):
        load(tmp_path)


def test_a_table_must_stand_there_once(tmp_path):
    write_table(shop(tmp_path), "orders", ORDERS)
    with pytest.raises(
        TableError, match=r"must hold orders once, found orders.parquet, orders.csv: keep one"
    ):
        load(tmp_path)


def test_a_folder_of_parts_holds_parts_alone(tmp_path):
    parts = shop(tmp_path, orders=None) / "orders"
    parts.mkdir()
    with pytest.raises(TableError, match=r"orders must hold Parquet or CSV parts, found none: export"):
        load(tmp_path)
    (parts / "part-0.csv.gz").write_bytes(b"")
    with pytest.raises(TableError, match=r"orders must hold Parquet or CSV parts alone, found part-0.csv.gz"):
        load(tmp_path)


def test_a_data_folder_must_be_there(tmp_path):
    with pytest.raises(TableError, match="must be a data folder, found nothing there"):
        load_tables(tmp_path / "nowhere", MoneySettings())
    (tmp_path / "file").write_text("")
    with pytest.raises(TableError, match="must be a data folder, found a file there"):
        load_tables(tmp_path / "file", MoneySettings())
