"""A small shop whose tables are faultless, for tests that put one fault into it."""

from datetime import UTC, datetime
from pathlib import Path

from features.tables import Tables, load_tables
from offers.settings import MoneySettings

NOW = datetime(2024, 6, 1, tzinfo=UTC)
AT = "2024-02-01T00:00:00Z"
SHOP = {
    "users": "user_id,joined_at\nann,2024-01-01T00:00:00Z\nbob,2024-01-15T00:00:00Z\n",
    "services": "service_id,name,unit_cost\nwash,Car wash,2.50\nfold,Folding,1\n",
    "orders": f"order_id,user_id,ordered_at,amount\no1,ann,{AT},10.00\n",
    "events": f"event_id,user_id,event,at,service_id,value\ne1,ann,used,{AT},wash,\n",
    "exposures": f"slate_id,user_id,shown_at,service_id,propensity\nx1,ann,{AT},wash,0.5\n",
    "feedback": f"user_id,at,nps,service_id\nann,{AT},9,wash\n",
}


def shop(folder: Path, **tables: str | None) -> Path:
    """A data folder of CSV files: the shop above with these tables in place of its own (None: absent)."""
    for name, text in (SHOP | tables).items():
        if text is not None:
            (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def load(folder: Path) -> Tables:
    return load_tables(folder, MoneySettings(margin_rate=0.5), NOW)


def count_of(tables: Tables, name: str) -> tuple[int, int, int]:
    (count,) = (count for count in tables.counts if count.table == name)
    return count.read, count.accepted, count.quarantined


def faults(tables: Tables) -> list[tuple]:
    """Table, row, column, rule and value of each line of the quarantine."""
    columns = ["table", "row", "column", "rule", "value"]
    return list(tables.quarantine[columns].itertuples(index=False, name=None))
