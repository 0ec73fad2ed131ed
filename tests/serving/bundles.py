"""Further bundles made of a sound one, without another training."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from features.tiers import Tiers
from offers.catalog import Catalog
from training.bundle import Bundle, BundleParts, read_bundle, write_bundle


def other_models(bundle: Bundle, settings, root: Path) -> Bundle:
    """The same services and columns, other scores: each uplift model in the place of the other."""
    parts = replace(
        parts_of(bundle, settings),
        uplift_margin=bundle.uplift_repurchase,
        uplift_repurchase=bundle.uplift_margin,
        tiers=Tiers(bundle.tiers.names, tuple(cut * 2 for cut in bundle.tiers.cuts)),
    )
    return read_bundle(write_bundle(parts, root))


def other_costs(bundle: Bundle, settings, root: Path) -> Bundle:
    """The same models of services that cost more: what was spent on them must be counted anew."""
    services = [replace(one, unit_cost=one.unit_cost + 1) for one in bundle.catalog.services]
    parts = replace(parts_of(bundle, settings), catalog=Catalog(tuple(services)))
    return read_bundle(write_bundle(parts, root))


def parts_of(bundle: Bundle, settings) -> BundleParts:
    manifest = bundle.manifest
    return BundleParts(
        layout=bundle.layout,
        tiers=bundle.tiers,
        catalog=bundle.catalog,
        uptake=bundle.uptake,
        uplift_repurchase=bundle.uplift_repurchase,
        uplift_margin=bundle.uplift_margin,
        golden=np.array(manifest["golden"]["profiles"], dtype=np.float32),
        settings=settings,
        seed=manifest["seed"],
        data_hash=manifest["data_hash"],
        rows=manifest["rows"],
        training=manifest["training"],
    )
