"""A small held-out log whose truth is known, for the tests of the report."""

from collections.abc import Callable

import numpy as np
import pytest

from offers.catalog import Catalog
from offers.settings import WindowSettings
from offers.types import Service
from training.dataset import Dataset
from training.evaluation.figures import Notes
from training.evaluation.log_counts import count_log


@pytest.fixture(scope="session")
def make_log() -> Callable[..., Dataset]:
    """A dataset from a few arrays; what is not named is plain."""

    def make(
        service, slate_propensity, margin, uptake=None, user=None, X=None, services=(), **further
    ) -> Dataset:
        service = np.asarray(service, np.int16)
        n = len(service)
        catalog = Catalog(tuple(services) or (Service("a", "Delivery"), Service("b", "Warranty")))
        X = np.zeros((n, 1), np.float32) if X is None else np.asarray(X, np.float32)
        margin = np.asarray(margin, float)
        arrays = {
            "X": X,
            "service": service,
            "slate_propensity": np.broadcast_to(np.asarray(slate_propensity, float), n).copy(),
            "uptake": np.zeros(n) if uptake is None else np.asarray(uptake, float),
            "repurchase": (margin > 0).astype(float),
            "margin": margin,
            "user": np.arange(n) if user is None else np.asarray(user),
            "shown_at_us": np.arange(n, dtype=np.int64) * 3_600_000_000,
            "columns": tuple(f"column_{i}" for i in range(X.shape[1])),
            "categorical": (),
            "catalog": catalog,
            "windows": WindowSettings(),
        }
        return Dataset(**{**arrays, **further})

    return make


@pytest.fixture(scope="session")
def notes() -> Notes:
    """What a report says beside its figures."""
    return Notes(
        title="Toy shop",
        n_train=14_000,
        n_lists=900,
        n_lists_learned=860,
        log=count_log(np.array([-1, 0, 1, 2, -2]), np.arange(5), np.zeros(5, np.int64), 3),
        dropped={"outcome window not closed yet": 123},
        uptake_days=14,
        repurchase_days=30,
        margin_cap_quantile=0.999,
        margin_cap=212.4,
        propensities="logged",
        bundle="b" * 64,
        data_hash="d" * 64,
        made_at="2026-01-31T10:00+00:00",
        command="perkwise evaluate data --out report.html",
        version="0.1.0",
    )
