"""The figures of scikit-uplift 0.5.1 and causalml 0.18.0, from our functions, to 1e-9.

The reference values are those of `benchmarks/uplift/reference_metrics.py` on rows made by arithmetic; the
last tests compute them anew where PERKWISE_PEERS_PYTHON names a Python that can import both libraries.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from training.evaluation.curves import (
    auuc,
    auuc_coefficient,
    qini,
    qini_coefficient,
    qini_curve,
    uplift_at_k,
    uplift_curve,
)
from training.evaluation.rate import toc_curve

N = 200
RANK = (73 * np.arange(N) + 17) % N  # 0 is ranked highest
UPLIFT = 1 - RANK / N
TIED = -(RANK // 20)
TREATED = ((57 * RANK + 150) % N < 120).astype(int)
CHANCE = 40 + 60 * TREATED * (RANK < 110)
# Neither of the two first, one of each arm, took up: the libraries differ on what a curve is before both arms
# are there, and agree that it is 0 here.
OUTCOME = ((CHANCE > (37 * RANK + 11) % N) & (RANK > 1)).astype(int)
EFFECT = ((91 * RANK + 5) % N - RANK) / N

REFERENCE = {
    "scikit_uplift": {
        "qini_auc": 0.2320437038196447,
        "uplift_auc": 0.19909180741055804,
        "overall_0.1": 0.375,
        "overall_0.3": 0.45000000000000007,
        "overall_0.5": 0.32173174872665533,
        "by_group_0.1": 0.375,
        "by_group_0.3": 0.4305555555555556,
        "by_group_0.5": 0.3333333333333333,
    },
    "scikit_uplift_tied": {"qini_auc": 0.2305954743295527, "uplift_auc": 0.19791572822961384},
    "causalml": {
        "qini_score": {"normalised": 0.2857254561958312, "plain": 6.428822764406199},
        "auuc_score": {"normalised": 0.7595952463956074, "plain": 28.484821739835276},
    },
    "causalml_rate": {"qini": 0.170625},
}


def same(found, reference):
    np.testing.assert_allclose(found, reference, rtol=0, atol=1e-9)


def test_the_rows_are_those_of_the_reference():
    assert (TREATED.sum(), OUTCOME.sum(), OUTCOME[TREATED == 1].sum()) == (120, 60, 45)
    assert TREATED[np.argsort(RANK)][:2].tolist() == [0, 1]


@pytest.mark.parametrize(("uplift", "reference"), [(UPLIFT, "scikit_uplift"), (TIED, "scikit_uplift_tied")])
def test_scikit_uplifts_normalised_areas(uplift, reference):
    same(qini_coefficient(OUTCOME, uplift, TREATED), REFERENCE[reference]["qini_auc"])
    same(auuc_coefficient(OUTCOME, uplift, TREATED), REFERENCE[reference]["uplift_auc"])


@pytest.mark.parametrize("strategy", ["overall", "by_group"])
@pytest.mark.parametrize("k", [0.1, 0.3, 0.5])
def test_scikit_uplifts_uplift_at_k(strategy, k):
    found = uplift_at_k(OUTCOME, UPLIFT, TREATED, k, strategy)
    same(found, REFERENCE["scikit_uplift"][f"{strategy}_{k}"])


def test_causalmls_qini_score():
    reference, (_, gain) = REFERENCE["causalml"]["qini_score"], qini_curve(OUTCOME, UPLIFT, TREATED)
    area = qini(OUTCOME, UPLIFT, TREATED) * TREATED.sum() * N / (N + 1)
    same(area, reference["plain"])
    same(area / abs(gain[-1]), reference["normalised"])


def test_causalmls_auuc_score():
    # It adds the points where we take trapezoids: half the last point more.
    reference, (_, gain) = REFERENCE["causalml"]["auuc_score"], uplift_curve(OUTCOME, UPLIFT, TREATED)
    area = (N**2 * auuc(OUTCOME, UPLIFT, TREATED) + N * gain[-1] / 2) / (N + 1)
    same(area, reference["plain"])
    same(area / abs(N * gain[-1]), reference["normalised"])


def test_causalmls_rate_with_the_weights_of_the_qini():
    # Weights are q at the middle of two points, and are made to add up to 1.
    share, toc = toc_curve(EFFECT, UPLIFT)
    middle = (share[1:] + share[:-1]) / 2
    same(np.average((toc[1:] + toc[:-1]) / 2, weights=middle), REFERENCE["causalml_rate"]["qini"])


@pytest.fixture(scope="module")
def recomputed():
    python = os.environ.get("PERKWISE_PEERS_PYTHON")
    if not python:
        pytest.skip("PERKWISE_PEERS_PYTHON names no Python with causalml and scikit-uplift")
    is_there = (
        "from importlib.util import find_spec as f; raise SystemExit(not (f('causalml') and f('sklift')))"
    )
    if subprocess.run([python, "-c", is_there]).returncode:
        pytest.skip(f"causalml and scikit-uplift cannot be imported by {python}")
    columns = {"outcome": OUTCOME, "treated": TREATED, "uplift": UPLIFT, "tied": TIED, "effect": EFFECT}
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "uplift" / "reference_metrics.py"
    rows = json.dumps({name: column.tolist() for name, column in columns.items()})
    run = subprocess.run([python, "-W", "ignore", script], input=rows, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.slow
def test_the_libraries_still_give_the_reference_values(recomputed):
    for name, figures in REFERENCE.items():
        for figure, reference in figures.items():
            assert recomputed[name][figure] == pytest.approx(reference, abs=1e-12)


@pytest.mark.slow
def test_whole_curves_are_those_of_the_libraries(recomputed):
    for uplift, name in ((UPLIFT, "scikit_uplift"), (TIED, "scikit_uplift_tied")):
        same(qini_curve(OUTCOME, uplift, TREATED), recomputed[name]["qini_curve"])
        share, gain = uplift_curve(OUTCOME, uplift, TREATED)
        same((N * share, N * gain), recomputed[name]["uplift_curve"])
    same(qini_curve(OUTCOME, UPLIFT, TREATED)[1], recomputed["causalml"]["qini"])
    same(N * uplift_curve(OUTCOME, UPLIFT, TREATED)[1], recomputed["causalml"]["cumgain"])
    same(toc_curve(EFFECT, UPLIFT)[1], recomputed["causalml_rate"]["toc"])
