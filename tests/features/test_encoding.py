"""Attributes as numbers: numbers as they are, times as days, categories as codes."""

import numpy as np
import pandas as pd

from features.asof import DAY_US
from features.encoding import Attribute, Encoding


def test_a_number_stays_a_number():
    ages = pd.Series([30, 41], name="age")
    attribute = Attribute.of(ages)
    assert attribute == Attribute("age")
    assert attribute.encode(ages).tolist() == [30, 41]
    assert attribute.encode_one(30) == 30 and attribute.decode(30.0) == 30


def test_a_number_that_float32_cannot_hold_is_unknown():
    points = pd.Series([np.inf, -np.inf, 1e39, -1e39, 3.4e38, np.nan], name="points")
    attribute = Attribute.of(points)
    np.testing.assert_array_equal(attribute.encode(points), [np.nan] * 4 + [3.4e38, np.nan])
    np.testing.assert_array_equal([attribute.encode_one(one) for one in points], attribute.encode(points))


def test_truth_counts_as_a_number():
    member = pd.Series([True, False], name="member")
    assert Attribute.of(member).encode(member).tolist() == [1, 0]


def test_a_time_becomes_days():
    birthday = pd.Series(pd.to_datetime(["1970-01-11", None], utc=True), name="birthday")
    np.testing.assert_array_equal(Attribute.of(birthday).encode(birthday), [10, np.nan])


def test_categories_become_codes_in_the_order_of_their_names():
    region = pd.Series(["south", "north", None], name="region", dtype="str")
    attribute = Attribute.of(region)
    assert attribute.levels == ("north", "south")
    np.testing.assert_array_equal(attribute.encode(region), [1, 0, np.nan])
    assert attribute.encode_one("south") == 1
    assert np.isnan(attribute.encode_one("west")) and np.isnan(attribute.encode_one(None))
    assert attribute.decode(1.0) == "south" and attribute.decode(np.nan) is None


def test_of_many_categories_the_most_frequent_are_kept():
    postcode = pd.Series([f"{number:04}" for number in range(400)] + ["0399", "0398"], name="p", dtype="str")
    levels = Attribute.of(postcode).levels
    assert len(levels) == 255
    assert {"0398", "0399", "0000", "0252"} < set(levels) and "0253" not in levels


def test_no_attributes_make_no_columns():
    encoding = Encoding(service_ids=(), service_categories=(), attributes=())
    assert encoding.encode_users(pd.DataFrame({"user_id": ["a", "b"]})).shape == (2, 0)
    assert encoding.category_of.shape == (0, 0)


def test_a_day_has_its_microseconds():
    assert pd.Timedelta(days=1) == pd.Timedelta(DAY_US, unit="us")
