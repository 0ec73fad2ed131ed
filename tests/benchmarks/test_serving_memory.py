"""The shop of many users that memory is measured on."""

import pandas as pd

from benchmarks.serving.shop import Shop, enlarged
from features.tables import load_tables, write_table
from offers.settings import MoneySettings

AT = pd.Timestamp("2024-02-01", tz="UTC")
TABLES = {
    "users": {"user_id": ["ann", "bob"], "joined_at": AT, "age": [30, 40]},
    "services": {"service_id": ["wash"], "name": "Car wash", "unit_cost": 2.5},
    "orders": {"order_id": ["o1"], "user_id": ["ann"], "ordered_at": AT, "amount": 10.0},
    "events": {"event_id": ["e1", "e2"], "user_id": "bob", "event": "used", "at": AT, "service_id": "wash"},
    "exposures": {
        "slate_id": ["x1"], "user_id": ["bob"], "shown_at": AT, "service_id": "wash", "propensity": 0.5
    },
}  # fmt: skip


def test_an_enlarged_shop_has_as_many_users_again_and_no_row_is_refused(tmp_path):
    shop = Shop(tmp_path / "small", tmp_path / "small" / "shop", tmp_path / "bundle")
    for name, columns in TABLES.items():
        write_table(shop.data, name, pd.DataFrame(columns))
    (shop.data / "perkwise.toml").write_text("")
    larger = enlarged(shop, 3)
    tables = load_tables(larger.data, MoneySettings())
    assert tables.users["user_id"].tolist() == ["ann", "bob", "1ann", "1bob", "2ann", "2bob"]
    assert tables.orders["user_id"].tolist() == ["ann", "1ann", "2ann"]
    assert {count.table: (count.accepted, count.quarantined) for count in tables.counts} == {
        "users": (6, 0), "services": (1, 0), "orders": (3, 0), "events": (6, 0), "exposures": (3, 0),
        "feedback": (0, 0),
    }  # fmt: skip
    assert larger.bundle == shop.bundle
