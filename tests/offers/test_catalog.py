from datetime import UTC, datetime

import numpy as np
import pytest

from offers.catalog import Catalog
from offers.types import Service


def test_services_are_sorted_by_id_whatever_the_order_of_the_file():
    catalog = Catalog.of([Service("b", "B", unit_cost=2.0), Service("a", "A", contact_cost=0.5)])
    assert catalog.ids == ("a", "b")
    assert catalog.position_of == {"a": 0, "b": 1}
    assert catalog.unit_cost.tolist() == [0.0, 2.0]
    assert catalog.contact_cost.tolist() == [0.5, 0.0]
    assert len(catalog) == 2


def test_an_id_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match=r"service_id must be unique in the catalogue, got \['a'\]"):
        Catalog.of([Service("a", "A"), Service("a", "Another")])


def test_dates_become_microseconds_and_their_absence_means_always():
    starts = datetime(1970, 1, 2, tzinfo=UTC)
    catalog = Catalog.of(
        [Service("a", "A", active_from=starts, active_until=datetime(1970, 1, 3)), Service("b", "B")]
    )
    day = 86_400_000_000
    assert catalog.active_from_us.tolist() == [day, np.iinfo(np.int64).min]
    assert catalog.active_until_us.tolist() == [2 * day, np.iinfo(np.int64).max]


def test_an_empty_catalogue_has_empty_arrays():
    assert Catalog.of([]).unit_cost.shape == (0,)
