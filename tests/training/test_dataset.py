"""Logged slates become rows whose profile ends before them and whose outcome begins with them."""

from datetime import UTC, datetime

import numpy as np
import pytest

from features.history import History
from features.pipeline import Layout
from features.tables import catalog_of, load_tables
from offers.settings import MoneySettings, WindowSettings
from training.dataset import NOTHING, SEVERAL, build_dataset, complete_until_us, read_slates
from training.split import Split

# Windows of 10 and 20 days from 1 March. Ann orders on day 0 (at the very time), 19 and 20; she uses the car
# wash on day 9 and the lounge, which she was not offered, on day 2. Bob does nothing. Cid saw two services.
TABLES = {
    "users": """user_id,joined_at
ann,2025-01-01T00:00:00Z
bob,2025-01-01T00:00:00Z
cid,2025-01-01T00:00:00Z
""",
    "services": "service_id,name,unit_cost,contact_cost\nwash,Car wash,4.00,0.50\nlounge,Lounge,9.00,0.00\n",
    "orders": """order_id,user_id,ordered_at,amount,margin
o1,ann,2025-03-01T12:00:00Z,10.00,3.00
o2,ann,2025-03-20T12:00:00Z,20.00,6.00
o3,ann,2025-03-21T12:00:00Z,40.00,12.00
o4,bob,2025-02-28T12:00:00Z,99.00,50.00
""",
    "events": """event_id,user_id,event,at,service_id
e1,ann,used,2025-03-10T12:00:00Z,wash
e2,ann,used,2025-03-03T12:00:00Z,lounge
e3,cid,used,2025-03-02T12:00:00Z,lounge
""",
    "exposures": """slate_id,user_id,shown_at,service_id,propensity,position,slate_propensity
s1,ann,2025-03-01T12:00:00Z,wash,0.5,1,0.4
s2,bob,2025-03-01T12:00:00Z,,0.2,1,0.2
s3,cid,2025-03-02T12:00:00Z,wash,0.3,1,0.1
s3,cid,2025-03-02T12:00:00Z,lounge,0.3,2,0.1
s4,bob,2025-03-25T12:00:00Z,lounge,0.1,1,0.1
""",
}
WINDOWS = WindowSettings(uptake_days=10, repurchase_days=20, complete_until="2025-03-22T12:00:00Z")


def read(folder, windows=WINDOWS, tables=TABLES):
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)
    loaded = load_tables(folder, MoneySettings(), now=datetime(2025, 4, 1, tzinfo=UTC))
    assert loaded.quarantine.empty
    layout = Layout.of(loaded)
    history = History.of(loaded, layout, windows.uptake_days)
    slates = read_slates(loaded, history)
    until_us = complete_until_us(loaded, windows)
    return build_dataset(slates, history, layout, catalog_of(loaded.services), windows, until_us)


def test_a_row_a_slate_whose_windows_have_closed(tmp_path):
    dataset = read(tmp_path)
    assert dataset.catalog.ids == ("lounge", "wash")
    assert dataset.service.tolist() == [1, NOTHING, SEVERAL]  # bob's s4 is still open
    assert dataset.slate_propensity.tolist() == [0.4, 0.2, 0.1]


def without_propensities(names):
    """The tables, where these slates name no propensity."""
    header, *rows = TABLES["exposures"].splitlines()
    kept = [
        row if row[:2] not in names else ",".join([*row.split(",")[:4], "", row.split(",")[5], ""])
        for row in rows
    ]
    return {**TABLES, "exposures": "\n".join([header, *kept]) + "\n"}


def test_a_propensity_that_is_not_logged_is_estimated_and_the_others_stay(tmp_path):
    dataset = read(tmp_path, tables=without_propensities({"s1", "s3"}))
    assert dataset.is_estimated.tolist() == [True, False, True]
    assert dataset.slate_propensity[1] == 0.2
    # A row's model saw one row each of the two other arms, and counts half a row of the row's own.
    assert dataset.slate_propensity[[0, 2]] == pytest.approx(0.2, abs=0.01)
    single = dataset.single()  # conditional on no list: of which the estimate for the first row is 0.4
    assert single.slate_propensity == pytest.approx([0.2 / 0.6, 0.2 / (2 / 3)], abs=0.01)
    assert single.propensities(0)[0] == pytest.approx([0.4 / 0.6, 0.0, 0.2 / 0.6], abs=0.01)


def test_a_list_keeps_its_services_in_order_with_their_propensities_and_uses(tmp_path):
    events = (
        TABLES["events"] + "e4,cid,used,2025-03-12T11:59:59Z,wash\ne5,cid,used,2025-03-12T12:00:00Z,lounge\n"
    )
    dataset = read(tmp_path, tables={**TABLES, "events": events})
    assert dataset.listed.tolist() == [[-1, -1], [-1, -1], [1, 0]]  # first the wash, then the lounge
    assert dataset.listed_propensity[2] == pytest.approx([0.3, 0.3])
    assert np.isnan(dataset.listed_propensity[:2]).all()
    # The lounge was used at the very time of the exposure, which counts, and at the window's end.
    assert dataset.listed_uptake.tolist() == [[0, 0], [0, 0], [1, 1]]
    assert dataset.take(np.array([2])).listed.tolist() == [[1, 0]]
    assert dataset.single().listed is None


def test_places_are_those_of_position_whatever_the_order_of_the_rows(tmp_path):
    header, *rows = TABLES["exposures"].splitlines()
    backwards = "\n".join([header, *rows[::-1]]) + "\n"
    assert read(tmp_path, tables={**TABLES, "exposures": backwards}).listed.tolist() == [
        [-1, -1],
        [-1, -1],
        [1, 0],
    ]


def test_a_log_without_lists_of_several_has_no_places(tmp_path):
    exposures = "\n".join(row for row in TABLES["exposures"].splitlines() if row[:2] != "s3") + "\n"
    dataset = read(tmp_path, tables={**TABLES, "exposures": exposures})
    assert dataset.listed is None and dataset.listed_uptake is None
    assert dataset.lists(dataset.margin, 0.25) is None and not dataset.is_teaching_list.any()


def test_lists_to_learn_from_have_the_outcome_asked_for(tmp_path):
    dataset = read(tmp_path)
    lists = dataset.lists(np.array([1.0, 2.0, 3.0]), choice_load=0.7)
    assert lists.services.tolist() == [[1, 0]] and lists.y.tolist() == [3.0]
    assert lists.propensity == pytest.approx([0.1]) and lists.choice_load == 0.7
    assert lists.taken.tolist() == [[0, 1]]
    assert np.array_equal(lists.X, dataset.X[[2]], equal_nan=True)


def test_nothing_is_learned_from_lists_without_a_propensity(tmp_path):
    dataset = read(tmp_path, tables=without_propensities({"s3"}))
    assert dataset.listed[2].tolist() == [1, 0] and np.isnan(dataset.listed_propensity[2]).all()
    assert not dataset.is_teaching_list.any() and dataset.lists(dataset.margin, 0.25) is None


def test_a_log_that_names_every_propensity_estimates_none(tmp_path):
    dataset = read(tmp_path)
    assert dataset.estimated is None and dataset.trimmed is None
    assert not dataset.is_estimated.any()


def test_outcomes_count_from_the_exposure_to_strictly_before_the_windows_end(tmp_path):
    dataset = read(tmp_path)
    assert dataset.uptake.tolist() == [1, 0, 0]  # the lounge that ann used was not offered; lists have none
    assert dataset.repurchase.tolist() == [1, 0, 0]
    assert dataset.margin.tolist() == [9.0, 0.0, 0.0]  # o1 at the very time counts, o3 on day 20 does not


def test_the_profile_ends_strictly_before_the_exposure(tmp_path):
    dataset = read(tmp_path)
    orders_before = dataset.X[:, dataset.columns.index("frequency_all")]
    assert orders_before.tolist() == [0, 1, 0]


def test_net_margin_subtracts_what_the_shown_service_cost(tmp_path):
    # Cid used the lounge, and was shown the wash beside it.
    assert read(tmp_path).net_margin().tolist() == [9.0 - 4.0 - 0.5, 0.0, 0.0 - 9.0 - 0.5]


def test_a_cap_lowers_the_largest_margins_alone(tmp_path):
    assert read(tmp_path).capped(5.0).margin.tolist() == [5.0, 0.0, 0.0]


def test_a_use_at_the_end_of_the_window_is_no_uptake(tmp_path):
    nine = WindowSettings(uptake_days=9, repurchase_days=20, complete_until=WINDOWS.complete_until)
    assert read(tmp_path, nine).uptake.tolist() == [0, 0, 0]


def test_propensities_of_lists_are_refused(tmp_path):
    with pytest.raises(ValueError, match="propensities are those of single offers"):
        read(tmp_path).propensities(seed=0)
    assert SEVERAL not in read(tmp_path).single().service


def test_single_rows_have_propensities_that_leave_lists_out(tmp_path):
    single = read(tmp_path).single()
    assert single.service.tolist() == [1, NOTHING]
    assert single.slate_propensity.tolist() == pytest.approx([0.4 * 3 / 2, 0.2 * 3 / 2])  # a third are lists


def test_a_log_without_closed_windows_says_what_to_do(tmp_path):
    early = WindowSettings(uptake_days=10, repurchase_days=20, complete_until="2025-03-05T00:00:00Z")
    with pytest.raises(ValueError, match="found none: the windows are 10 and 20 days long"):
        read(tmp_path, early)


@pytest.mark.parametrize("text", ["2025-03-22", "soon"])
def test_an_end_without_a_zone_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=f"complete_until must be a time with its zone.*'{text}'"):
        read(tmp_path, WindowSettings(complete_until=text))


def test_without_an_end_the_tables_are_complete_to_their_last_row(tmp_path):
    dataset = read(tmp_path, WindowSettings(uptake_days=10, repurchase_days=20))
    assert len(dataset) == 3  # the last row is of 25 March


def test_a_log_without_exposures_says_what_to_do(tmp_path):
    header = TABLES["exposures"].splitlines()[0] + "\n"
    with pytest.raises(ValueError, match="exposures must hold at least one row"):
        read(tmp_path, tables={**TABLES, "exposures": header})


def many_exposures(tmp_path, days):
    """One user a row, each shown nothing on one of the days after 1 March."""
    users, exposures = [TABLES["users"].splitlines()[0]], [TABLES["exposures"].splitlines()[0]]
    for row, day in enumerate(days):
        users.append(f"u{row},2025-01-01T00:00:00Z")
        exposures.append(f"s{row},u{row},2025-03-{1 + day:02d}T12:00:00Z,,0.5,1,0.5")
    tables = {
        **TABLES,
        "users": "\n".join(users) + "\n",
        "orders": TABLES["orders"].splitlines()[0] + "\no1,u0,2025-02-01T12:00:00Z,1.00,1.00\n",
        "events": TABLES["events"].splitlines()[0] + "\n",
        "exposures": "\n".join(exposures) + "\n",
    }
    windows = WindowSettings(uptake_days=2, repurchase_days=3, complete_until="2025-03-31T12:00:00Z")
    return read(tmp_path, windows, tables)


def test_a_split_by_time_leaves_a_window_between_training_and_held_out_rows(tmp_path):
    dataset = many_exposures(tmp_path, days=range(20))
    split = Split.of(dataset, test_share=0.25)
    train, test = split.apply(dataset, user_ids=[f"u{row}" for row in range(20)])
    assert split.by == "time"
    assert test.user.tolist() == [15, 16, 17, 18, 19]
    assert train.user.tolist() == list(range(13))  # days 13 and 14 were still open on day 15


def test_one_campaign_is_split_by_user_whatever_their_order(tmp_path):
    dataset = many_exposures(tmp_path, days=[0] * 200)
    split = Split.of(dataset, test_share=0.25)
    ids = [f"u{row}" for row in range(200)]
    train, test = split.apply(dataset, ids)
    assert split.by == "user"
    assert len(train) + len(test) == 200 and 30 <= len(test) <= 70
    _, backwards = split.apply(dataset, ids[::-1])
    assert {ids[user] for user in test.user} == {ids[::-1][user] for user in backwards.user}


def test_a_split_without_held_out_rows_says_so(tmp_path):
    dataset = many_exposures(tmp_path, days=range(20))
    later = Split("time", 0.25, int(np.datetime64("2026-01-01", "us").astype(int)))
    with pytest.raises(ValueError, match="held-out exposures must be there from 2026-01-01"):
        later.apply(dataset, [f"u{row}" for row in range(20)])


def test_a_campaign_that_holds_nobody_out_says_so(tmp_path):
    dataset = many_exposures(tmp_path, days=[0])
    with pytest.raises(ValueError, match="found none: of 1 exposures the 0% of the users that are kept"):
        Split("user", 0.0).apply(dataset, ["u0"])


def test_exposures_that_are_all_in_quarantine_are_told_from_none(tmp_path):
    header, *rows = TABLES["exposures"].splitlines()
    nobody = "\n".join([header, *(row.replace("ann", "nobody") for row in rows[:1])])
    for exposures, remedy in (
        (header, "Log what is shown"),
        (nobody, "All 1 rows break the contract: quaran"),
    ):
        (tmp_path / "exposures.csv").write_text(exposures + "\n")
        for name in ("users", "services", "orders"):
            (tmp_path / f"{name}.csv").write_text(TABLES[name])
        tables = load_tables(tmp_path, MoneySettings())
        with pytest.raises(ValueError, match=f"at least one row to learn from, found none. {remedy}"):
            read_slates(tables, History.of(tables, Layout.of(tables), 10))
