"""A data folder as training reads it, on a shop whose rows are counted by construction."""

import pandas as pd
import pytest

from tests.checkerboard import N_DECISIONS, N_USERS
from tests.project import settings_of
from training.source import read_source


def test_every_decision_is_a_row_and_a_list_is_one_of_them(shop_source):
    assert len(shop_source.dataset) == shop_source.log.n == N_DECISIONS * N_USERS
    log = shop_source.log
    assert log.n_nothing + log.n_several + sum(log.n_by_service) == log.n
    assert log.n_several == pytest.approx(0.1 * log.n, rel=0.15)
    assert len(shop_source.tables.exposures) == log.n + log.n_several
    assert shop_source.dropped == {}


def test_what_is_left_out_is_counted_by_its_reason(home):
    shop = home / "var" / "shop"
    settings = (shop / "perkwise.toml").read_text()
    (shop / "perkwise.toml").write_text(settings.replace("2025-05-15", "2025-05-01"))  # day 120
    exposures = pd.read_parquet(shop / "exposures.parquet")
    exposures.loc[exposures["position"] == 2, "propensity"] = 0
    exposures.to_parquet(shop / "exposures.parquet", index=False)
    source = read_source(shop, settings_of(home, shop))
    broken = (exposures["position"] == 2).sum()
    assert source.dropped["row breaks the contract (quarantine)"] == 2 * broken  # a list goes as a whole
    open_still = source.log.n - len(source.dataset)
    assert source.dropped["outcome window not closed yet"] == open_still > 0
    assert len(pd.read_csv(shop / "quarantine" / "exposures.csv")) == 2 * broken


def test_services_that_the_bundle_does_not_know_are_named(home, first_bundle):
    wider = home / "var" / "wider"
    with pytest.raises(ValueError, match=r"got \[\] missing and \['c'\] further\. Train again on this data"):
        read_source(wider, settings_of(home, wider), first_bundle.layout)
