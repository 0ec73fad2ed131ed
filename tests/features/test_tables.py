"""A data folder in: what is accepted comes out as the contract says, byte for byte."""

import hashlib
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from features.tables import TABLES, catalog_of, data_hash, load_tables, write_quarantine, write_table
from offers.settings import MoneySettings
from offers.types import Service
from tests.features.shop import AT, SHOP, count_of, faults, load, shop


def test_a_faultless_shop_is_accepted_whole(tmp_path):
    tables = load(shop(tmp_path))
    assert [count_of(tables, name) for name in TABLES] == [(2, 2, 0), (2, 2, 0)] + [(1, 1, 0)] * 4
    assert len(tables.quarantine) == 0 and list(tables.quarantine)[:3] == ["table", "file", "row"]
    assert tables.orders.to_dict("records") == [
        {
            "order_id": "o1",
            "user_id": "ann",
            "ordered_at": pd.Timestamp(AT),
            "amount_cents": 1000,
            "margin_cents": 500,
        }
    ]
    assert tables.exposures.to_dict("records") == [
        {
            "slate_id": "x1",
            "user_id": "ann",
            "shown_at": pd.Timestamp(AT),
            "service_id": "wash",
            "propensity": 0.5,
            "position": 1,
            "slate_propensity": 0.5,
            "channel": "",
            "arm": "policy",
        }
    ]
    assert np.isnan(tables.events["value"][0])


def test_frames_have_the_types_of_the_contract(tmp_path):
    tables = load(shop(tmp_path, events=None, exposures=None, feedback=None))
    kinds = {
        "orders": {"order_id": "str", "ordered_at": "datetime64[us, UTC]", "margin_cents": "int64"},
        "services": {"unit_cost_cents": "int64", "tiers": "str", "active_from": "datetime64[us, UTC]"},
        "events": {"event_id": "str", "at": "datetime64[us, UTC]", "value": "float64"},
        "exposures": {"propensity": "float64", "position": "int64", "arm": "str"},
        "feedback": {"nps": "int64", "at": "datetime64[us, UTC]", "service_id": "str"},
    }
    for name, columns in kinds.items():
        frame = getattr(tables, name)
        assert {column: str(frame[column].dtype) for column in columns} == columns
    assert [count_of(tables, name) for name in ("events", "exposures", "feedback")] == [(0, 0, 0)] * 3


IDS = [
    "007",
    "NA",
    "null",
    "NaN",
    "None",
    "12345678901234567890",
    "顾客一",
    "🙂",
    " a ",
    "1e5",
    "-0",
    "a,b",
    '"q"',
    "l\nm",
]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_stay_text_byte_for_byte(tmp_path, suffix):
    folder = shop(tmp_path, users=None)
    users = pd.DataFrame({"user_id": ["ann", *IDS], "joined_at": pd.Timestamp("2024-01-01", tz="UTC")})
    if suffix == "csv":
        users.to_csv(folder / "users.csv", index=False)
    else:
        write_table(folder, "users", users)
    assert load(folder).users["user_id"].tolist() == ["ann", *IDS]


def test_whole_number_ids_of_parquet_become_their_digits(tmp_path):
    folder = shop(tmp_path, orders=None)
    orders = pd.DataFrame(
        {"order_id": [2**62, 7], "user_id": "ann", "ordered_at": pd.Timestamp(AT), "amount": 1}
    )
    write_table(folder, "orders", orders.astype({"user_id": "category"}))
    assert load(folder).orders["order_id"].tolist() == ["4611686018427387904", "7"]


def test_times_with_offsets_become_utc_and_digits_beyond_microseconds_are_cut(tmp_path):
    texts = [
        "2024-02-01T02:00:00+02:00",
        "2024-01-31 19:00:00.1234567-0500",
        "2024-02-01T00:00Z",
        "2024-02-01 01:00:00+01",
    ]
    rows = "".join(f"o{i},ann,{text},1\n" for i, text in enumerate(texts))
    tables = load(shop(tmp_path, orders=f"order_id,user_id,ordered_at,amount\n{rows}"))
    microseconds = (tables.orders["ordered_at"] - pd.Timestamp(AT)) // pd.Timedelta(microseconds=1)
    assert microseconds.tolist() == [0, 123456, 0, 0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_parquet_need_a_zone_and_may_have_any_unit(tmp_path, unit):
    folder = shop(tmp_path, orders=None)
    moments = pd.Series([pd.Timestamp(AT), None]).dt.tz_convert("Asia/Shanghai").dt.as_unit(unit)
    orders = pd.DataFrame({"order_id": ["a", "b"], "user_id": "ann", "ordered_at": moments, "amount": 1.0})
    write_table(folder, "orders", orders)
    tables = load(folder)
    assert tables.orders["ordered_at"].tolist() == [pd.Timestamp(AT)]
    assert faults(tables) == [("orders", 2, "ordered_at", "present", "")]
    write_table(folder, "orders", orders.assign(ordered_at=moments.dt.tz_localize(None)))
    tables = load(folder)
    assert [fault[1:4] for fault in faults(tables)] == [
        (1, "ordered_at", "zoned"),
        (2, "ordered_at", "present"),
    ]


def test_money_becomes_exact_cents_and_an_empty_margin_follows_the_rate(tmp_path):
    amounts = ["0.1", "1.005", "0.125", "1000000000", "999999999.99", "1e2", ".5", " 7 "]
    margins = ["", "-2.675", "", "0", "", "1", "", ""]
    rows = "".join(f"o{i},ann,{AT},{a},{m}\n" for i, (a, m) in enumerate(zip(amounts, margins)))
    orders = load(shop(tmp_path, orders=f"order_id,user_id,ordered_at,amount,margin\n{rows}")).orders
    assert orders["amount_cents"].tolist() == [10, 101, 13, 10**11, 99_999_999_999, 10_000, 50, 700]
    assert orders["margin_cents"].tolist() == [5, -268, 6, 0, 50_000_000_000, 100, 25, 350]


def test_decimals_of_parquet_are_money_too(tmp_path):
    folder = shop(tmp_path, orders=None)
    amount = pd.array(["19.99", "0.01"], dtype="string").astype(
        pd.ArrowDtype(pd.core.arrays.arrow.array.pa.decimal128(12, 2))
    )
    orders = pd.DataFrame(
        {"order_id": ["a", "b"], "user_id": "ann", "ordered_at": pd.Timestamp(AT), "amount": amount}
    )
    write_table(folder, "orders", orders)
    assert load(folder).orders["amount_cents"].tolist() == [1999, 1]


def test_an_unknown_column_is_kept_and_named(tmp_path):
    tables = load(shop(tmp_path, orders=f"order_id,user_id,ordered_at,amount,store\no1,ann,{AT},1,007\n"))
    assert tables.orders["store"].tolist() == ["007"]
    assert [count.unknown_columns for count in tables.counts if count.table == "orders"] == [("store",)]
    assert len(tables.quarantine) == 0


def test_attributes_of_users_are_numbers_or_categories(tmp_path):
    rows = "ann,2024-01-01T00:00:00Z,31,02139,gold\nbob,2024-01-01T00:00:00Z,,10115,\n"
    users = load(shop(tmp_path, users=f"user_id,joined_at,age,postcode,card\n{rows}")).users
    assert users["age"][0] == 31 and np.isnan(users["age"][1])
    assert users["postcode"].tolist() == ["02139", "10115"]
    assert users["card"].tolist() == ["gold", ""]


def test_a_list_of_several_services_is_kept_with_its_positions(tmp_path):
    rows = f"x1,ann,{AT},wash,0.5,2,0.2\nx1,ann,{AT},fold,0.5,1,0.2\nx2,bob,{AT},,0.5,,\n"
    header = "slate_id,user_id,shown_at,service_id,propensity,position,slate_propensity\n"
    exposures = load(shop(tmp_path, exposures=header + rows)).exposures
    assert exposures["position"].tolist() == [2, 1, 1]
    assert exposures["slate_propensity"].tolist() == [0.2, 0.2, 0.5]


def test_a_propensity_may_be_missing_in_a_row_or_throughout(tmp_path):
    rows = f"x1,ann,{AT},wash,0.5\nx2,bob,{AT},wash,\n"
    header = "slate_id,user_id,shown_at,service_id"
    some = load(shop(tmp_path, exposures=f"{header},propensity\n{rows}")).exposures
    assert some["propensity"].tolist()[0] == some["slate_propensity"].tolist()[0] == 0.5
    assert np.isnan(some[["propensity", "slate_propensity"]].to_numpy()[1]).all()
    none = load(shop(tmp_path, exposures=f"{header}\nx1,ann,{AT},wash\n")).exposures
    assert none["propensity"].isna().all() and none["slate_propensity"].isna().all()


def test_the_catalogue_holds_the_accepted_services_in_currency_units(tmp_path):
    cells = {
        "service_id": "wash,fold",
        "name": "Car wash,Folding",
        "category": "care,",
        "scenario": "web,",
        "unit_cost": "2.50,1",
        "contact_cost": "0.01,",
        "tiers": "gold|diamond,",
        "capacity_per_day": "7,",
        "provider": "ACME,",
        "active_from": "2024-01-01T00:00:00Z,",
        "active_until": "2024-12-01T00:00:00Z,",
    }
    services = pd.DataFrame({name: text.split(",") for name, text in cells.items()}).to_csv(index=False)
    fold, wash = catalog_of(load(shop(tmp_path, services=services)).services).services
    assert fold == Service("fold", "Folding", unit_cost=1.0)
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 12, 1, tzinfo=UTC)
    assert wash == Service(
        "wash", "Car wash", "care", "web", 2.5, 0.01, ("gold", "diamond"), 7, "ACME", start, end
    )


def test_the_quarantine_is_written_a_file_each_table_and_old_files_go(tmp_path):
    folder = shop(
        tmp_path, orders=f"{SHOP['orders']}o2,ann,{AT},ten\n", feedback=f"user_id,at,nps\nann,{AT},11\n"
    )
    assert [path.name for path in write_quarantine(load(folder), folder)] == ["orders.csv", "feedback.csv"]
    lines = pd.read_csv(folder / "quarantine" / "orders.csv")
    assert lines[["row", "column", "value"]].values.tolist() == [[2, "amount", "ten"]]
    assert write_quarantine(load(shop(folder)), folder) == []
    assert list((folder / "quarantine").iterdir()) == []


def test_a_table_that_the_contract_does_not_know_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"name must be one of users, services, .* got 'items'"):
        write_table(tmp_path, "items", pd.DataFrame())
    with pytest.raises(ValueError, match="users must have the columns joined_at, got user_id"):
        write_table(tmp_path, "users", pd.DataFrame({"user_id": ["ann"]}))


def test_the_hash_follows_the_bytes_of_the_tables_alone(tmp_path):
    before = data_hash(shop(tmp_path))
    (tmp_path / "perkwise.toml").write_text("")
    write_quarantine(load(tmp_path), tmp_path)
    assert data_hash(tmp_path) == before and len(before) == hashlib.sha256().digest_size * 2
    (tmp_path / "orders.csv").write_text(SHOP["orders"].replace("10.00", "10.01"))
    assert data_hash(tmp_path) != before


def test_the_moment_of_the_check_needs_a_zone(tmp_path):
    with pytest.raises(ValueError, match=r"now must have a time zone, got datetime.datetime\(2024"):
        load_tables(shop(tmp_path), MoneySettings(), datetime(2024, 6, 1))
