"""A bundle answers as the models it was made of, and a damaged one never reaches them."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from features.pipeline import Layout
from features.tiers import Tiers
from offers.catalog import Catalog
from offers.settings import Settings, WindowSettings
from offers.types import Service
from tests.training.bundle_damage import DAMAGES, damaged_bundles, resealed
from training.bundle import BundleError, BundleParts, read_bundle, write_bundle
from training.uplift import UpliftModel
from training.uptake import UptakeModel

LAYOUT = Layout(service_ids=("007", "茶"), service_categories=("", "drinks"), attributes=())
CATALOG = Catalog.of(
    [
        Service(
            "茶",
            "Tea",
            category="drinks",
            unit_cost=1.5,
            contact_cost=0.1,
            tiers=("gold",),
            capacity_per_day=40,
            active_from=datetime(2024, 1, 1, 12, tzinfo=UTC),
        ),
        Service("007", "Valet"),
    ]
)
SETTINGS = Settings(windows=WindowSettings(uptake_days=3, repurchase_days=9))
N, P = 1500, len(LAYOUT.columns)


def parts_of(seed: int) -> BundleParts:
    """Small models with trees in them: column 1 moves uptake, column 0 the effect of the first service."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, P)).astype(np.float32)
    X[::5, 2] = np.nan
    service = rng.integers(-1, 2, N)
    uptake = ((rng.random(N) < 0.2 + 0.5 * (X[:, 1] > 0)) & (service >= 0)).astype(float)
    margin = 4.0 * (X[:, 0] > 0) * (service == 0) + rng.normal(size=N)
    propensity = np.full((N, 3), 1 / 3)

    def uplift(y: np.ndarray) -> UpliftModel:
        return UpliftModel(seed, n_jobs=1).fit(X, service, propensity, y, uptake)

    return BundleParts(
        layout=LAYOUT,
        tiers=Tiers(("basic", "gold"), (10.0,)),
        catalog=CATALOG,
        uptake=UptakeModel(seed, n_jobs=1).fit(X, service, uptake, 2),
        uplift_repurchase=uplift((margin > 1).astype(float)),
        uplift_margin=uplift(margin),
        golden=X[:16],
        settings=SETTINGS,
        seed=seed,
        data_hash="d1",
        rows={"train": N, "test": 500},
        training={"margin_cap": 12.5},
    )


@pytest.fixture(scope="module")
def parts() -> BundleParts:
    return parts_of(seed=0)


@pytest.fixture(scope="module")
def written(parts: BundleParts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(parts, tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    """The same bundle, to damage."""
    return Path(shutil.copytree(written, tmp_path / written.name))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The model texts that LightGBM parses in this process."""
    texts: list[str] = []
    parse = lightgbm.Booster.__init__

    def watch(booster: lightgbm.Booster, *args: object, **kwargs: object) -> None:
        texts.append(str(kwargs.get("model_str")))
        parse(booster, *args, **kwargs)

    monkeypatch.setattr(lightgbm.Booster, "__init__", watch)
    return texts


@pytest.fixture
def started_processes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The commands that this process starts."""
    commands: list[object] = []
    start = subprocess.Popen.__init__

    def watch(process: subprocess.Popen, command: object, *args: object, **kwargs: object) -> None:
        commands.append(command)
        start(process, command, *args, **kwargs)

    monkeypatch.setattr(subprocess.Popen, "__init__", watch)
    return commands


def test_a_bundle_answers_bit_for_bit_as_the_models_it_was_made_of(parts, written, parsed):
    bundle = read_bundle(written)
    X = np.random.default_rng(5).normal(size=(50, P)).astype(np.float32)
    estimates = bundle.estimates(X)
    assert np.array_equal(estimates.uptake, parts.uptake.predict(X))
    assert np.array_equal(estimates.uplift_repurchase, parts.uplift_repurchase.predict(X))
    assert np.array_equal(estimates.uplift_margin, parts.uplift_margin.predict(X))
    assert np.ptp(estimates.uplift_margin[:, 0]) > 0
    assert ((estimates.uptake > 0) & (estimates.uptake < 1)).all()
    assert len(parsed) >= 3

    assert (bundle.path, bundle.hash) == (written, written.name)
    assert (bundle.layout, bundle.tiers, bundle.catalog) == (LAYOUT, parts.tiers, CATALOG)
    assert bundle.windows == SETTINGS.windows
    assert bundle.manifest["rows"] == {"train": N, "test": 500}
    assert bundle.manifest["training"] == {"margin_cap": 12.5}
    assert bundle.manifest["training"] == {"margin_cap": 12.5}

    assert bundle.estimates(X[:0]).uptake.shape == (0, 2)
    for wrong in (X[0], X[:, 1:]):
        with pytest.raises(ValueError, match=rf"X must have shape \(n_users, {P}\), got \("):
            bundle.estimates(wrong)


def test_training_again_with_one_seed_gives_the_same_hash_and_another_seed_another(parts, written, tmp_path):
    again, other = write_bundle(parts_of(seed=0), tmp_path), write_bundle(parts_of(seed=1), tmp_path)
    assert again.name == written.name != other.name
    for path in written.rglob("*.*"):
        assert (again / path.relative_to(written)).read_bytes() == path.read_bytes()


def test_settings_that_do_not_touch_training_do_not_touch_the_hash(parts, written, tmp_path):
    settings = replace(SETTINGS, serving=replace(SETTINGS.serving, port=4000))
    assert write_bundle(replace(parts, settings=settings), tmp_path).name == written.name


def test_a_bundle_holds_text_alone(written):
    suffixes = {path.suffix for path in written.rglob("*") if path.is_file()}
    assert suffixes == {".txt", ".json"}
    for path in written.rglob("*.*"):
        path.read_text(encoding="utf-8")


def test_parts_that_do_not_belong_together_are_refused(parts, tmp_path):
    with pytest.raises(ValueError, match=r"layout and catalog must list the same services in one order"):
        write_bundle(replace(parts, catalog=Catalog(CATALOG.services[::-1])), tmp_path)
    for golden in (parts.golden[:0], parts.golden[:, 1:]):
        with pytest.raises(ValueError, match=rf"golden must hold at least one profile of {P} columns"):
            write_bundle(replace(parts, golden=golden), tmp_path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_bytes_are_refused_before_anything_is_parsed(copied, parsed, damage):
    rng = np.random.default_rng(2)
    for path in sorted(copied.rglob("*.*")):
        content = path.read_bytes()
        for _ in range(4):
            path.write_bytes(damage(content, rng))
            with pytest.raises(BundleError, match="damaged"):
                read_bundle(copied)
        path.write_bytes(content)
    assert parsed == []


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda folder: (folder / "uptake" / "uptake.json").unlink(), r"\['uptake/uptake.json'\] missing"),
        (lambda folder: (folder / "uptake" / "b.txt").touch(), r"\['uptake/b.txt'\] not of the bundle"),
        (lambda folder: (folder / "manifest.json").unlink(), "there is no bundle at"),
    ],
)
def test_missing_and_extra_files_are_refused(copied, parsed, change, message):
    change(copied)
    with pytest.raises(BundleError, match=message):
        read_bundle(copied)
    assert parsed == []


def rename_a_column(_: Path, facts: dict) -> None:
    facts["columns"] = ["recency_fortnights", *facts["columns"][1:]]


def forget_the_name(_: Path, facts: dict) -> None:
    facts["catalog"][0].pop("name")


def swap_columns(_: Path, facts: dict) -> None:
    facts["columns"] = facts["columns"][::-1]


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda _, facts: facts.update(format=2), "has format 2 and this Perkwise reads 1. Use the version"),
        (lambda _, facts: facts.pop("format"), "has format None and this Perkwise reads 1"),
        (lambda _, facts: [facts.pop(key) for key in ("tiers", "seed")], "lacks tiers, seed. Train again"),
        (lambda _, facts: facts.update(layout={}), "has a layout that cannot be read: 'service_ids'"),
        (forget_the_name, r"has a catalog that cannot be read: .*'name'"),
        (rename_a_column, r"no longer there \['recency_fortnights'\], new \["),
        (swap_columns, "the same ones in another order"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_before_anything_is_parsed(
    written, tmp_path, parsed, edit, message
):
    with pytest.raises(BundleError, match=message):
        read_bundle(resealed(written, tmp_path, edit))
    assert parsed == []


def edit_text(pattern: str, replacement: str) -> Callable[[Path, dict], None]:
    def edit(folder: Path, _: dict) -> None:
        path = folder / "uptake" / "uptake.txt"
        path.write_text(re.sub(pattern, replacement, path.read_text()))

    return edit


OTHER_SCORES = edit_text(r"leaf_value=(-?)0\.0", r"leaf_value=\g<1>0.1")  # of the same length


@pytest.mark.parametrize(
    "edit, message",
    [
        (edit_text(r"left_child=\S+", "left_child=999999"), r"killed the process that tried them \(SIG"),
        (edit_text(r"feature_infos=.*\n", ""), r"do not load \(LightGBMError: "),
        (OTHER_SCORES, "do not score the golden rows .*: uptake. Train"),
    ],
)
def test_models_that_fail_are_tried_in_another_process_first(written, tmp_path, parsed, edit, message):
    with pytest.raises(BundleError, match=message):
        read_bundle(resealed(written, tmp_path, edit))
    assert parsed == []


@pytest.mark.slow
def test_no_sealed_damage_kills_this_process(written, tmp_path):
    rng = np.random.default_rng(4)
    refused = 0
    for damage in DAMAGES * 4:

        def edit(folder: Path, _: dict, damage: Callable = damage) -> None:
            path = folder / "uptake" / "uptake.txt"
            path.write_bytes(damage(path.read_bytes(), rng))

        try:
            read_bundle(resealed(written, tmp_path, edit))
        except BundleError:
            refused += 1
    assert refused > 5  # a changed digit in a statistic of a leaf changes no score


@pytest.mark.slow
def test_500_damaged_bundles_are_refused_before_a_model_is_read_here_or_elsewhere(
    written, parsed, started_processes, tmp_path
):
    other = write_bundle(parts_of(seed=1), tmp_path / "other")
    refused: dict[str, int] = {}
    parsed.clear()  # what training read
    for kind, folder in damaged_bundles(written, other, tmp_path, 500, np.random.default_rng(6)):
        with pytest.raises(BundleError):
            read_bundle(folder)
        refused[kind] = refused.get(kind, 0) + 1
        shutil.rmtree(folder)
    assert sum(refused.values()) == 500 and min(refused.values()) >= 50, refused
    assert parsed == [] and started_processes == []
    read_bundle(written)
    assert len(parsed) >= 3 and len(started_processes) == 1  # what was watched for does happen


def test_every_kind_of_damage_is_refused_before_a_model_is_read_here_or_elsewhere(
    written, parsed, started_processes, tmp_path
):
    kinds = set()
    for kind, folder in damaged_bundles(written, written, tmp_path, 36, np.random.default_rng(7)):
        with pytest.raises(BundleError):
            read_bundle(folder)
        kinds.add(kind)
    assert len(kinds) == 9
    assert parsed == [] and started_processes == []
