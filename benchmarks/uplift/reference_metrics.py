"""Uplift metrics as scikit-uplift and causalml compute them, for the tests to compare with.

Runs in an environment of its own, which needs neither Perkwise nor its packages:

PEERS_PYTHON benchmarks/uplift/reference_metrics.py < rows.json > figures.json

Reads one JSON object of equally long lists: `outcome` and `treated` of 0 and 1, `uplift`, `tied` (a coarser
uplift, for scikit-uplift alone: causalml does not treat ties) and `effect` (a signal of each row's effect).
Writes one of figures and curves.
"""

import json
import sys

import numpy as np
import pandas as pd
from causalml.metrics import auuc_score, get_cumgain, get_qini, qini_score
from causalml.metrics.rate import get_toc, rate_score
from sklift.metrics import (
    qini_auc_score,
    qini_curve,
    uplift_at_k,
    uplift_auc_score,
    uplift_curve,
)


def of_scikit_uplift(y: np.ndarray, uplift: np.ndarray, treated: np.ndarray) -> dict:
    """Ties enter together; both normalised figures are shares of a perfect order's."""
    return {
        "qini_auc": qini_auc_score(y, uplift, treated),
        "uplift_auc": uplift_auc_score(y, uplift, treated),
        "qini_curve": [part.tolist() for part in qini_curve(y, uplift, treated)],
        "uplift_curve": [part.tolist() for part in uplift_curve(y, uplift, treated)],
    }


def uplifts_at_k(y: np.ndarray, uplift: np.ndarray, treated: np.ndarray) -> dict:
    return {
        f"{strategy}_{k}": uplift_at_k(y, uplift, treated, strategy=strategy, k=k)
        for strategy in ("overall", "by_group")
        for k in (0.1, 0.3, 0.5)
    }


def of_causalml(y: np.ndarray, uplift: np.ndarray, treated: np.ndarray) -> dict:
    frame = pd.DataFrame({"y": y, "w": treated, "uplift": uplift})
    return {
        "qini_score": {
            name: float(qini_score(frame, normalize=name == "normalised")["uplift"]) for name in _BOTH
        },
        "auuc_score": {
            name: float(auuc_score(frame, normalize=name == "normalised")["uplift"]) for name in _BOTH
        },
        "qini": get_qini(frame)["uplift"].tolist(),
        "cumgain": get_cumgain(frame)["uplift"].tolist(),
    }


def of_causalml_rate(effect: np.ndarray, uplift: np.ndarray) -> dict:
    frame = pd.DataFrame({"tau": effect, "uplift": uplift})
    return {
        "toc": get_toc(frame)["uplift"].tolist(),
        "qini": float(rate_score(frame, weighting="qini")["uplift"]),
    }


_BOTH = ("normalised", "plain")


def main() -> None:
    rows = {name: np.array(column) for name, column in json.load(sys.stdin).items()}
    y, treated, uplift = rows["outcome"], rows["treated"], rows["uplift"]
    figures = {
        "scikit_uplift": of_scikit_uplift(y, uplift, treated) | uplifts_at_k(y, uplift, treated),
        "scikit_uplift_tied": of_scikit_uplift(y, rows["tied"], treated),
        "causalml": of_causalml(y, uplift, treated),
        "causalml_rate": of_causalml_rate(rows["effect"], uplift),
    }
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main()
