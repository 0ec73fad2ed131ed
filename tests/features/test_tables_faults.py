"""Rows that break the contract: each goes to the quarantine with its place, its rule and a remedy."""

import pandas as pd
import pytest

from features.contract.columns import REMEDIES, contracts
from features.tables import load_tables, write_table
from offers.settings import MoneySettings
from tests.features.shop import AT, NOW, SHOP, count_of, faults, load, shop

BAD_ROWS = [
    ("users", ",2024-01-01T00:00:00Z", "user_id", "present", "", "fill it"),
    ("users", "  ,2024-01-01T00:00:00Z", "user_id", "present", "  ", "fill it"),
    ("users", "ann,2024-01-01T00:00:00Z", "user_id", "unique", "ann", "earlier row has this id"),
    ("users", "cid,", "joined_at", "present", "", "fill it"),
    ("users", "cid,yesterday", "joined_at", "time", "yesterday", "ISO 8601"),
    ("users", "cid,2024-02-30T00:00:00Z", "joined_at", "time", "2024-02-30T00:00:00Z", "ISO 8601"),
    ("users", "cid,2024-01-01T00:00:00", "joined_at", "zoned", "2024-01-01T00:00:00", "no offset from UTC"),
    ("users", "cid,2024-01-01", "joined_at", "zoned", "2024-01-01", "no offset from UTC"),
    ("users", "cid,2024-06-01T00:00:01Z", "joined_at", "not_future", "2024-06-01T00:00:01Z", "clock"),
    ("services", "iron,,1", "name", "present", "", "fill it"),
    ("services", "wash,Twice,1", "service_id", "unique", "wash", "remove this row"),
    ("services", "iron,Ironing,-1", "unit_cost", "not_negative", "-1", "Expected 0 or more"),
    ("services", "iron,Ironing,free", "unit_cost", "number", "free", "plain number such as 12.50"),
    ("orders", f"o1,bob,{AT},1", "order_id", "unique", "o1", "id of its own"),
    ("orders", f"o2,eve,{AT},1", "user_id", "known_user", "eve", "not among the accepted rows of users"),
    ("orders", "o2,bob,2024-01-14T23:59Z,1", "ordered_at", "not_before_joined", "2024-01-14T23:59Z", "mend"),
    ("orders", "o2,bob,2024-06-02T00:00:00Z,1", "ordered_at", "not_future", "2024-06-02T00:00:00Z", "clock"),
    ("orders", f"o2,bob,{AT},", "amount", "present", "", "fill it"),
    ("orders", f"o2,bob,{AT},NaN", "amount", "finite", "NaN", "NaN and infinity"),
    ("orders", f"o2,bob,{AT},inf", "amount", "finite", "inf", "NaN and infinity"),
    ("orders", f"o2,bob,{AT},1e400", "amount", "finite", "1e400", "NaN and infinity"),
    ("orders", f"o2,bob,{AT},1e308", "amount", "max_money", "1e308", "at most 1,000,000,000"),
    ("orders", f"o2,bob,{AT},-0.01", "amount", "not_negative", "-0.01", "refund as an event"),
    ("orders", f"o2,bob,{AT},ten", "amount", "number", "ten", "no currency sign"),
    ("orders", f'o2,bob,{AT},"1,50"', "amount", "number", "1,50", "no separator but a decimal point"),
    ("orders", f"o2,bob,{AT},1,50", "", "cells", f"o2,bob,{AT},1,50", "as many cells as the header"),
    ("orders", f"o2,bob,{AT}", "", "cells", f"o2,bob,{AT}", "as many cells as the header"),
    ("events", f"e1,bob,used,{AT},wash,", "event_id", "unique", "e1", "earlier row"),
    ("events", f"e2,bob,,{AT},wash,", "event", "present", "", "fill it"),
    ("events", f"e2,bob,used,{AT},iron,", "service_id", "known_service", "iron", "accepted rows of services"),
    ("events", f"e2,eve,used,{AT},,", "user_id", "known_user", "eve", "accepted rows of users"),
    ("events", f"e2,bob,used,{AT},,many", "value", "number", "many", "plain number"),
    ("exposures", f"x2,bob,{AT},wash,0", "propensity", "probability", "0", "above 0 and at most 1"),
    ("exposures", f"x2,bob,{AT},wash,-0.1", "propensity", "probability", "-0.1", "above 0 and at most 1"),
    ("exposures", f"x2,bob,{AT},wash,1.01", "propensity", "probability", "1.01", "not a score"),
    ("exposures", f"x2,bob,{AT},iron,0.5", "service_id", "known_service", "iron", "add it there"),
    ("feedback", f"bob,{AT},11,", "nps", "nps", "11", "from 0 to 10"),
    ("feedback", f"bob,{AT},-1,", "nps", "nps", "-1", "from 0 to 10"),
    ("feedback", f"bob,{AT},7.5,", "nps", "whole", "7.5", "whole number"),
    ("feedback", f"bob,{AT},7,iron", "service_id", "known_service", "iron", "add it there"),
]  # fmt: skip


@pytest.fixture(scope="module")
def bad_shop(tmp_path_factory):
    """The shop with every bad row at the end of its table."""
    tables = {
        name: text + "".join(f"{row}\n" for table, row, *_ in BAD_ROWS if table == name)
        for name, text in SHOP.items()
    }
    return load(shop(tmp_path_factory.mktemp("shop"), **tables))


@pytest.mark.parametrize("case", range(len(BAD_ROWS)), ids=[" ".join(bad[:1] + bad[2:5]) for bad in BAD_ROWS])
def test_a_bad_row_is_quarantined_with_its_place_rule_and_remedy(bad_shop, case):
    table, _, column, rule, value, remedy = BAD_ROWS[case]
    number = n_good(table) + [name for name, *_ in BAD_ROWS[: case + 1]].count(table)
    lines = bad_shop.quarantine[
        bad_shop.quarantine["table"].eq(table) & bad_shop.quarantine["row"].eq(number)
    ]
    assert lines[["file", "column", "rule", "value"]].values.tolist() == [
        [f"{table}.csv", column, rule, value]
    ]
    assert remedy in lines["remedy"].item()


@pytest.mark.parametrize("table", SHOP)
def test_good_rows_beside_bad_ones_are_accepted(bad_shop, table):
    n_bad = [name for name, *_ in BAD_ROWS].count(table)
    assert count_of(bad_shop, table) == (n_good(table) + n_bad, n_good(table), n_bad)
    assert len(getattr(bad_shop, table)) == n_good(table)


def n_good(table):
    return len(SHOP[table].splitlines()) - 1


OPTIONAL_CELLS = [
    ("services", "contact_cost", "-1", "not_negative", "Expected 0 or more"),
    ("services", "capacity_per_day", "-3", "not_negative", "Expected 0 or more"),
    ("services", "capacity_per_day", "1.5", "whole", "whole number"),
    ("services", "capacity_per_day", "1e300", "max_count", "no limit"),
    ("services", "tiers", "gold||silver", "tiers", "one | between two"),
    ("services", "active_from", "2024-01-01", "zoned", "no offset"),
    ("orders", "margin", "1e10", "max_money", "not cents"),
    ("orders", "margin", "nan", "finite", "an empty cell means none"),
    ("exposures", "position", "0", "position", "1 for the first place"),
    ("exposures", "position", "1.5", "whole", "whole number"),
    ("exposures", "slate_propensity", "0", "probability", "above 0"),
    ("exposures", "arm", "control", "arm", "policy, explore or holdout"),
]


@pytest.mark.parametrize("table, column, value, rule, remedy", OPTIONAL_CELLS)
def test_a_bad_optional_cell_is_quarantined_and_an_empty_one_is_not(
    tmp_path, table, column, value, rule, remedy
):
    header, first, *_ = SHOP[table].splitlines()
    bad = first.replace("o1", "o2").replace("x1", "x2").replace("wash,Car", "iron,Car")
    tables = load(shop(tmp_path, **{table: f"{header},{column}\n{first},\n{bad},{value}\n"}))
    assert (table, 2, column, rule, value) in faults(tables)
    assert count_of(tables, table) == (2, 1, 1)
    assert remedy in tables.quarantine["remedy"][0]


def test_a_service_that_ends_before_it_starts_is_quarantined(tmp_path):
    start, end = "2024-05-01T00:00:00Z", "2024-04-01T00:00:00Z"
    rows = f"wash,Car wash,1,,\nfold,Folding,1,{start},{end}\n"
    tables = load(shop(tmp_path, services=f"service_id,name,unit_cost,active_from,active_until\n{rows}"))
    assert faults(tables) == [("services", 2, "active_until", "ends_after_start", end)]
    assert "after active_from" in tables.quarantine["remedy"][0]


def test_every_rule_of_the_contract_has_a_remedy_that_ends_as_a_sentence():
    schemas = [contract.schema for contract in contracts(NOW)]
    checks = [check for schema in schemas for column in schema.columns.values() for check in column.checks]
    assert {check.name for check in checks} <= set(REMEDIES)
    assert all(remedy.endswith(".") for remedy in REMEDIES.values())


def test_a_row_with_several_faults_is_one_quarantined_row_with_several_lines(tmp_path):
    tables = load(shop(tmp_path, orders=f"{SHOP['orders']},eve,never,-5\n"))
    assert count_of(tables, "orders") == (2, 1, 1)
    assert {fault[2:4] for fault in faults(tables)} == {
        ("order_id", "present"),
        ("user_id", "known_user"),
        ("ordered_at", "time"),
        ("amount", "not_negative"),
    }


def test_a_row_whose_user_is_in_quarantine_is_quarantined_too(tmp_path):
    tables = load(shop(tmp_path, users="user_id,joined_at\nann,2024-01-01\nbob,2024-01-01T00:00:00Z\n"))
    assert [(fault[0], fault[3]) for fault in faults(tables)] == [
        ("users", "zoned"),
        ("orders", "known_user"),
        ("events", "known_user"),
        ("exposures", "known_user"),
        ("feedback", "known_user"),
    ]


def test_of_a_repeated_id_the_first_row_without_another_fault_stays(tmp_path):
    rows = f"o1,ann,{AT},ten\no1,ann,{AT},20\no1,ann,{AT},30\n"
    tables = load(shop(tmp_path, orders=f"order_id,user_id,ordered_at,amount\n{rows}"))
    assert tables.orders["amount_cents"].tolist() == [2000]
    assert faults(tables) == [
        ("orders", 1, "amount", "number", "ten"),
        ("orders", 3, "order_id", "unique", "o1"),
    ]


def test_float_ids_of_parquet_are_quarantined_because_digits_are_lost(tmp_path):
    folder = shop(tmp_path, orders=None)
    orders = pd.DataFrame(
        {"order_id": [1.0, 2.5], "user_id": "ann", "ordered_at": pd.Timestamp(AT), "amount": 1}
    )
    write_table(folder, "orders", orders)
    tables = load(folder)
    assert [fault[2:] for fault in faults(tables)] == [("order_id", "text", "1"), ("order_id", "text", "2.5")]
    assert "no digit of an id is lost" in tables.quarantine["remedy"][0]


TORN_SLATES = [
    (f"x1,ann,{AT},fold,0.5,1", [(2, "position", "unique")]),  # a position twice
    (f"x1,ann,{AT},wash,0.5,2", [(2, "service_id", "unique")]),  # a service twice
    (f"x1,bob,{AT},fold,0.5,2", [(1, "slate_id", "whole_slate"), (2, "slate_id", "one_slate")]),
    (
        "x1,ann,2024-02-02T00:00:00Z,fold,0.5,2",
        [(1, "slate_id", "whole_slate"), (2, "slate_id", "one_slate")],
    ),
    (f"x1,ann,{AT},,0.5,2", [(1, "slate_id", "whole_slate"), (2, "slate_id", "one_slate")]),
    (f"x1,ann,{AT},fold,5,2", [(1, "slate_id", "whole_slate"), (2, "propensity", "probability")]),
]


@pytest.mark.parametrize("second, expected", TORN_SLATES)
def test_a_list_that_does_not_hold_together_is_quarantined_whole(tmp_path, second, expected):
    header = "slate_id,user_id,shown_at,service_id,propensity,position"
    tables = load(
        shop(tmp_path, exposures=f"{header}\nx1,ann,{AT},wash,0.5,1\n{second}\nx2,ann,{AT},wash,1,1\n")
    )
    assert [fault[1:4] for fault in faults(tables)] == expected
    assert tables.exposures["slate_id"].tolist()[-1] == "x2"


def test_slates_are_told_what_holds_them_together(tmp_path):
    rows = f"x1,ann,{AT},wash,0.5,1\nx1,bob,{AT},fold,0.5,2\n"
    tables = load(
        shop(tmp_path, exposures=f"slate_id,user_id,shown_at,service_id,propensity,position\n{rows}")
    )
    whole, one = tables.quarantine["remedy"]
    assert "Another row of this list is in quarantine" in whole
    assert "must agree on user_id and shown_at" in one


def test_without_a_moment_the_clock_decides_what_is_future(tmp_path):
    orders = f"{SHOP['orders']}o2,ann,2999-01-01T00:00:00Z,1\n"
    tables = load_tables(shop(tmp_path, orders=orders), MoneySettings())
    assert [fault[1:4] for fault in faults(tables)] == [(2, "ordered_at", "not_future")]
