"""A bundle: the models and all that is needed to ask them, as a folder of text that is checked before use."""

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.pipeline import Layout
from features.tiers import Tiers
from offers.catalog import Catalog
from offers.settings import Settings, WindowSettings
from offers.types import Estimates, Progress, Service
from training.attribution import Attribution, check_services
from training.bundle_files import BundleError, check_seal, seal
from training.uplift import UpliftModel
from training.uptake import UptakeModel

FORMAT = 1
_MODELS = ("uptake", "uplift_repurchase", "uplift_margin")
_LIBRARIES = ("lightgbm", "numpy", "scikit-learn")
_FACTS = ("columns", "layout", "tiers", "catalog", "settings", "seed", "training", "golden")
_TOLERANCE = 1e-9  # of golden scores, relative: another processor may round the last digits differently
_PATIENCE_S = 60  # for the process that tries the models


@dataclass(frozen=True)
class BundleParts:
    """What a training puts into a bundle."""

    layout: Layout
    tiers: Tiers
    catalog: Catalog
    uptake: UptakeModel
    uplift_repurchase: UpliftModel
    uplift_margin: UpliftModel
    golden: NDArray[np.float32]  # a few training profiles, (n, p): their scores prove a loaded bundle
    settings: Settings
    seed: int
    data_hash: str
    rows: Mapping[str, int]  # exposures used, e.g. {"train": …, "test": …}
    training: Mapping[str, Any]  # what a report must know: split, cap, baselines


@dataclass(frozen=True)
class Bundle:
    """Models that were checked and loaded, with all that is needed to ask them."""

    path: Path
    hash: str
    manifest: Mapping[str, Any]
    layout: Layout
    tiers: Tiers
    catalog: Catalog
    uptake: UptakeModel
    uplift_repurchase: UpliftModel
    uplift_margin: UpliftModel

    @cached_property
    def windows(self) -> WindowSettings:
        """The outcome windows that the models were trained for."""
        return WindowSettings(**self.manifest["settings"]["windows"])

    @property
    def cold(self) -> NDArray[np.bool_]:
        """Services shown so seldom that what is said of them comes from the others, shape (n_services,)."""
        return self.uplift_margin.cold_

    def choice_load(self, tiers: Sequence[str]) -> NDArray[np.float64] | None:
        """How much harder each further service makes the choice, shape (n_users,), by the value tier.

        A tier that was not trained on has the common load. None where the log held no lists to learn it
        from: then `settings.decision.choice_load` stands.
        """
        learned = self.manifest["training"].get("choice_load")
        if learned is None:
            return None
        return np.array([learned["tiers"].get(tier, learned["common"])["value"] for tier in tiers])

    def estimates(
        self, X: NDArray[np.float32], repurchase: bool = True, progress: Progress | None = None
    ) -> Estimates:
        """What the models say of each user and service.

        Parameters
        ----------
        X : float32 array of shape (n_users, n_columns)
            Profiles in the order of `layout.columns`.
        repurchase : bool
            False leaves `uplift_repurchase` NaN and saves a third of the time; no decision asks for it.

        Raises
        ------
        ValueError
            If X has another shape.
        """
        if X.ndim != 2 or X.shape[1] != len(self.layout.columns):
            raise ValueError(f"X must have shape (n_users, {len(self.layout.columns)}), got {X.shape}.")
        unknown = np.full((len(X), len(self.catalog)), np.nan)
        return Estimates(
            uptake=self.uptake.predict(X),
            uplift_repurchase=self.uplift_repurchase.predict(X) if repurchase else unknown,
            uplift_margin=self.uplift_margin.predict(X, progress),
        )

    def explain_value(
        self, X: NDArray[np.float32], services: Sequence[int] | None = None, money_price: float = 0.0
    ) -> Attribution:
        """What each column adds to the value of offering a service alone, in currency units.

        Base (n, k) and contributions (n, k, n_columns) for k services, by default all; the base is the value
        for a typical user, and base + contributions is uplift_margin − (uptake × unit_cost + contact_cost) ×
        (1 + money_price).
        """
        which = check_services(services, len(self.catalog))
        uplift = self.uplift_margin.explain(X, services)
        cost = self.uptake.explain(X, services).times(self.catalog.unit_cost[which])
        cost = Attribution(cost.base + self.catalog.contact_cost[which], cost.contributions)
        return uplift.plus(cost.times(-(1 + money_price)))


def write_bundle(parts: BundleParts, root: Path) -> Path:
    """The folder `root/<hash>` that holds these models; nothing of it is there before all of it is on disk.

    The hash is over content alone, so training twice with one seed on the same data gives the same folder.

    Raises
    ------
    ValueError
        If the parts do not belong together.
    """
    if parts.layout.service_ids != parts.catalog.ids:
        raise ValueError(
            f"layout and catalog must list the same services in one order, got {parts.layout.service_ids} "
            f"and {parts.catalog.ids}."
        )
    if parts.golden.shape[1:] != (len(parts.layout.columns),) or len(parts.golden) == 0:
        raise ValueError(
            f"golden must hold at least one profile of {len(parts.layout.columns)} columns, "
            f"got shape {parts.golden.shape}."
        )
    return seal(root, lambda folder: _write_models(parts, folder))


def read_bundle(path: Path) -> Bundle:
    """The bundle in this folder, after everything about it was checked.

    A damaged text model can kill the process that parses it. So the bytes are compared with the manifest
    first, then another process loads the models and scores the golden rows, and only then does this one.

    Raises
    ------
    BundleError
        If the folder is not a bundle, is damaged, is of a newer format, was trained on other columns, or its
        models do not load and score as they did when it was written.
    """
    folder = path.resolve()
    manifest = check_seal(folder)
    _check_facts(folder, manifest)
    _try_elsewhere(folder)
    return _load(folder, manifest)


def read_basis(path: Path) -> tuple[Layout, WindowSettings]:
    """The layout of a bundle, and the windows that it was trained for, without its models; checked as always.

    Raises
    ------
    BundleError
        If the folder is not a bundle, is damaged, is of a newer format, or was trained on other columns.
    """
    folder = path.resolve()
    manifest = check_seal(folder)
    _check_facts(folder, manifest)
    return Layout.from_json(manifest["layout"]), WindowSettings(**manifest["settings"]["windows"])


def _write_models(parts: BundleParts, folder: Path) -> dict[str, Any]:
    for name in _MODELS:
        (folder / name).mkdir()
        getattr(parts, name).save(folder / name)
    settings = asdict(parts.settings)
    return {
        "format": FORMAT,
        "columns": list(parts.layout.columns),
        "layout": parts.layout.to_json(),
        "tiers": parts.tiers.to_json(),
        "catalog": [_service_to_json(service) for service in parts.catalog.services],
        "settings": {section: settings[section] for section in ("money", "windows", "training")},
        "seed": parts.seed,
        "data_hash": parts.data_hash,
        "rows": dict(parts.rows),
        "training": dict(parts.training),
        "libraries": {library: version(library) for library in _LIBRARIES},
        "golden": {
            "profiles": [
                [None if np.isnan(value) else float(value) for value in row] for row in parts.golden
            ],
            **{name: getattr(parts, name).predict(parts.golden).tolist() for name in _MODELS},
        },
    }


def _service_to_json(service: Service) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(service).items()
    }


def _service_from_json(facts: Mapping[str, Any]) -> Service:
    times = {key: datetime.fromisoformat(facts[key]) for key in ("active_from", "active_until") if facts[key]}
    return Service(**{**facts, "tiers": tuple(facts["tiers"]), **times})


def _check_facts(folder: Path, manifest: Mapping[str, Any]) -> None:
    """The facts that need no model: format, completeness, columns."""
    if manifest.get("format") != FORMAT:
        raise BundleError(
            f"the bundle {folder} has format {manifest.get('format')!r} and this Perkwise reads {FORMAT}. "
            "Use the version that wrote it, or train again."
        )
    missing = [fact for fact in _FACTS if fact not in manifest]
    if missing:
        raise BundleError(f"the manifest of the bundle {folder} lacks {', '.join(missing)}. Train again.")
    for fact, check in _CHECKS.items():
        try:
            check(manifest[fact])
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise BundleError(f"the bundle {folder} has a {fact} that cannot be read: {error}.") from error
    trained, now = tuple(manifest["columns"]), Layout.from_json(manifest["layout"]).columns
    if _catalog_from_json(manifest["catalog"]).ids != Layout.from_json(manifest["layout"]).service_ids:
        raise BundleError(
            f"the bundle {folder} has a catalog of other services than its layout. Train again."
        )
    if trained != now:
        raise BundleError(
            f"the bundle {folder} was trained on other columns than are computed now: "
            f"{_difference(trained, now)}. Train again."
        )


def _catalog_from_json(services: Sequence[Mapping[str, Any]]) -> Catalog:
    return Catalog(tuple(_service_from_json(facts) for facts in services))


def _check_golden(golden: Mapping[str, Any]) -> None:
    """Numbers in the shapes of scores; whether they are the right ones only the models can tell."""
    n_rows = len(np.array(golden["profiles"], dtype=np.float32))
    for name in _MODELS:
        if len(np.array(golden[name], dtype=np.float64)) != n_rows or n_rows == 0:
            raise ValueError(f"{name} must have a row for each profile")


_CHECKS: dict[str, Callable[[Any], object]] = {
    "columns": tuple,
    "layout": Layout.from_json,
    "tiers": Tiers.from_json,
    "catalog": _catalog_from_json,
    "settings": lambda settings: WindowSettings(**settings["windows"]),
    "training": dict.items,
    "golden": _check_golden,
}


def _difference(trained: tuple[str, ...], now: tuple[str, ...]) -> str:
    gone = [name for name in trained if name not in now]
    added = [name for name in now if name not in trained]
    if not gone and not added:
        return "the same ones in another order"
    return f"no longer there {gone}, new {added}"


def _try_elsewhere(folder: Path) -> None:
    """Loads and scores in a process of its own, which a damaged model may kill."""
    command = [sys.executable, "-m", "training.bundle", str(folder)]
    project = Path(__file__).resolve().parents[1]
    try:
        tried = subprocess.run(command, cwd=project, capture_output=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"the models of {folder} did not load within {_PATIENCE_S} seconds.") from error
    if tried.returncode < 0:
        raise BundleError(
            f"the models of {folder} killed the process that tried them "
            f"({signal.Signals(-tried.returncode).name}). Train again."
        )
    if tried.returncode > 0:
        lines = tried.stderr.decode(errors="replace").strip().splitlines()
        raise BundleError(lines[-1] if lines else f"the models of {folder} do not load. Train again.")


def _load(folder: Path, manifest: Mapping[str, Any]) -> Bundle:
    try:
        bundle = Bundle(
            path=folder,
            hash=folder.name,
            manifest=manifest,
            layout=Layout.from_json(manifest["layout"]),
            tiers=Tiers.from_json(manifest["tiers"]),
            catalog=_catalog_from_json(manifest["catalog"]),
            uptake=UptakeModel.load(folder / "uptake"),
            uplift_repurchase=UpliftModel.load(folder / "uplift_repurchase"),
            uplift_margin=UpliftModel.load(folder / "uplift_margin"),
        )
        faults = _golden_faults(bundle)
    except Exception as error:  # whatever a model does to its reader is the bundle's fault
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise BundleError(f"the models of {folder} do not load ({cause}). Train again.") from error
    if faults:
        raise BundleError(
            f"the models of {folder} do not score the golden rows as they did when they were written: "
            f"{', '.join(faults)}. Train again with the libraries that are installed now."
        )
    return bundle


def _golden_faults(bundle: Bundle) -> list[str]:
    golden = bundle.manifest["golden"]
    profiles = np.array(golden["profiles"], dtype=np.float32)  # None becomes NaN
    faults = []
    for name in _MODELS:
        expected, found = np.array(golden[name]), getattr(bundle, name).predict(profiles)
        if expected.shape != found.shape or not np.allclose(found, expected, rtol=_TOLERANCE, atol=0):
            faults.append(name)
    return faults


def _main() -> None:
    folder = Path(sys.argv[1])
    try:
        _load(folder, check_seal(folder))
    except BundleError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
