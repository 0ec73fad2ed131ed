import json

import numpy as np
import pytest
from click.testing import CliRunner

from offers.calendar import DAY_US
from offers.catalog import Catalog
from offers.pacing import Shift
from offers.settings import parse_settings
from offers.types import Service
from perkwise import main
from serving.database import Database
from serving.spending import Offer, Spending, append_shift, read_shifts

MONDAY = 4 * DAY_US
CATALOG = Catalog.of([Service("free", "Free"), Service("gift", "Gift", unit_cost=4.0, contact_cost=0.5)])
SETTINGS = parse_settings(
    {
        "tracks": [{"name": "high", "tiers": ["gold"]}],
        "pacing": {"use_cover": 1000},
        "budgets": [
            {"name": "all", "period": "week", "money": 20.0},
            {"name": "high", "period": "week", "contacts": 5, "track": "high"},
        ],
    }
)


def spending():
    made = Spending(SETTINGS, CATALOG, np.array([0.5, 0.25]), 1e9)
    made.advance(MONDAY)
    return made


def test_each_offer_and_use_is_spent_where_it_belongs():
    made = spending()
    used = Offer(MONDAY, 1, track=0, used_at_us=MONDAY + 5)
    made.replay([used, Offer(MONDAY + 1, 0, track=-1)], [], MONDAY + 10)
    money, contacts = made.accounts
    assert money.spent == 4.5 and contacts.spent == 1
    later = spending()
    later.replay([used], [], MONDAY + 7 * DAY_US)
    assert later.accounts[0].spent == 0  # a new week


def barred(made, *of):
    places = {place for some in made.closed(*of).values() for place in some}
    return [place in places for place in range(2)]


def test_what_has_no_room_is_barred_and_what_is_free_is_not():
    made = spending()
    assert barred(made, 0, 3, MONDAY) == [False, False]  # 3 × 4.5 fit into 16
    made.replay([Offer(MONDAY, 1, -1)], [], MONDAY)
    assert barred(made, 0, 3, MONDAY) == [False, True]
    assert barred(made, 0, 2, MONDAY) == [False, False]
    assert barred(made, 0, 5, MONDAY) == [True, True]  # contacts: 4 are open, 5 may be shown
    assert barred(made, -1, 5, MONDAY) == [False, True]


def test_a_shift_in_the_audit_opens_the_reserve_of_its_week(tmp_path):
    file = tmp_path / "var" / "budget-audit.jsonl"
    assert read_shifts(file) == []
    append_shift(file, Shift("all", MONDAY + 5, "Ada", "a sale"))
    made = spending()
    made.replay([], read_shifts(file), MONDAY + 10)
    assert [account.is_reserve_open for account in made.accounts] == [True, False]
    assert made.forecasts(MONDAY + 10)[0].open_amount == 20


def test_a_broken_audit_line_is_named(tmp_path):
    file = tmp_path / "audit.jsonl"
    file.write_text('{"budget": "all"}\n')
    with pytest.raises(
        ValueError, match=r"must hold a declared shift in line 1, got .* Put it right or remove"
    ):
        read_shifts(file)


def test_the_commands_open_a_reserve_and_show_it(data, tmp_path, monkeypatch):
    monkeypatch.setenv("PERKWISE_HOME", str(tmp_path))
    (tmp_path / "perkwise.toml").write_text('[[budgets]]\nname = "all"\nmoney = 100.0\n')
    Database(tmp_path / "var" / "state.db").close()
    unknown = CliRunner().invoke(main, ["budget", "open-reserve", "al", "--who", "Ada", "--why", "a sale"])
    assert unknown.exit_code == 1 and "NAME must be a budget of perkwise.toml, got 'al'" in unknown.output
    opened = CliRunner().invoke(main, ["budget", "open-reserve", "all", "--who", "Ada", "--why", "a sale"])
    assert opened.exit_code == 0, opened.output
    found = CliRunner().invoke(main, ["budget", "status", "--data", str(data), "--json"])
    (one,) = json.loads(found.stdout)["budgets"]
    assert one["is_reserve_open"] and one["open_amount"] == 100 and one["spent"] == 0
    assert json.loads(found.stdout)["revenue_a_day"] > 0
