"""From held-out exposures, policies and predictions to every figure of the report."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from training.dataset import NOTHING, SEVERAL, Dataset
from training.evaluation.balance import balance
from training.evaluation.bootstrap import UserBootstrap
from training.evaluation.checks import Finding
from training.evaluation.cost_figures import cost_figures
from training.evaluation.curves import Reliability
from training.evaluation.figures import (
    BASELINES,
    PERKWISE,
    ArmFigures,
    Evaluation,
    Floats,
    Notes,
    Outcome,
)
from training.evaluation.held_out_checks import check_held_out, pooled_calibration
from training.evaluation.importances import Importances
from training.evaluation.policy_figures import paired_gains, value_policy
from training.evaluation.service_figures import (
    MIN_EXPOSURES,
    HeldOut,
    service_figures,
    uptake_reliability,
)


def evaluate(
    test: Dataset,
    policies: Mapping[str, Floats],
    q: Floats,
    uplift: Floats,
    uptake: Floats,
    eligible: NDArray[np.bool_],
    outcome: Outcome,
    unit: str,
    level: float,
    notes: Notes,
    rng: np.random.Generator,
    oracle_share: Mapping[str, float] | None = None,
    n_replicates: int = 1000,
    log_findings: Sequence[Finding] = (),
    importances: Importances | None = None,
) -> Evaluation:
    """Every figure of the report, each with its baseline, its interval and its sample size.

    Parameters
    ----------
    test : Dataset
        Held-out rows, lists of several among them.
    policies : mapping of name to array of shape (n_test, n_services + 1)
        Probabilities of showing nothing (first) and each service: `perkwise` and the five of
        `baseline_policies`; further ones are reported beside them.
    q : array of shape (n_test, n_services + 1)
        Expected net outcome of nothing and each service, from models that have not seen these rows.
    uplift, uptake : arrays of shape (n_test, n_services)
        Predicted uplift in the outcome, before costs, and predicted uptake.
    eligible : bool array of shape (n_test, n_services)
        Which services could have been offered on each row.
    outcome, unit : str
        `margin` and its currency, or `repurchase` and a word for it.
    level : float
        Of every interval, in (0, 1).
    oracle_share : mapping of policy to float, optional
        Share of the oracle's gain over nothing that each policy reaches, where the truth is known.
    log_findings : sequence of Finding
        What `check_log` found; the checks of the held-out rows are added.
    importances : Importances, optional
        Which columns move the value of offers.

    Raises
    ------
    ValueError
        Where a policy is missing, or an array does not fit the rows or the catalogue.
    """
    _check_inputs(test, policies, q, uplift, uptake, eligible)
    is_money = outcome == "margin"
    value, gross = (test.net_margin(), test.margin) if is_money else (test.repurchase, test.repurchase)
    resampled = UserBootstrap(test.user, rng, n_replicates)
    held_out = HeldOut(test, gross, q[:, 0], is_money, resampled, level)
    chosen = policies[PERKWISE][:, 1:].mean(axis=0)
    # Small products: threads would wait for each other, and the figures depend on the number of cores.
    with threadpool_limits(limits=1, user_api="blas"):
        valued = {name: value_policy(test, policies[name], value, q, resampled, level) for name in policies}
        services = [
            service_figures(held_out, s, uplift[:, s], uptake[:, s], eligible[:, s], float(chosen[s]))
            for s in range(len(test.catalog))
        ]
        costs = cost_figures(held_out, uplift, uptake, eligible)
        calibration = pooled_calibration(held_out, uplift, eligible)
    balanced = balance(test)
    perkwise = policies[PERKWISE].argmax(axis=1), valued[PERKWISE].figures
    findings = check_held_out(held_out, uplift, *perkwise, balanced, calibration, unit)
    return Evaluation(
        outcome=outcome,
        unit=unit,
        level=level,
        n_test=len(test),
        n_users=resampled.n_users,
        period=_days(test.shown_at_us),
        policies={name: policy.figures for name, policy in valued.items()},
        gains=paired_gains(valued, PERKWISE, level),
        best_constant=_mostly_shown(test, policies["best_constant"]),
        services=tuple(services),
        arms=_arms(test, gross),
        reliability=_pooled_reliability(test, uptake),
        balance=balanced,
        notes=notes,
        oracle_share=oracle_share,
        costs=costs,
        calibration=calibration,
        findings=(*log_findings, *findings),
        importances=importances,
    )


def _check_inputs(
    test: Dataset,
    policies: Mapping[str, Floats],
    q: Floats,
    uplift: Floats,
    uptake: Floats,
    eligible: NDArray[np.bool_],
) -> None:
    missing = [name for name in (PERKWISE, *BASELINES) if name not in policies]
    if missing:
        raise ValueError(f"policies must hold perkwise and the five baselines, {missing} are missing.")
    n, n_services = len(test), len(test.catalog)
    wide = {"q": q, **{f"policies[{name!r}]": policy for name, policy in policies.items()}}
    narrow = {"uplift": uplift, "uptake": uptake, "eligible": eligible}
    for name, array in (wide | narrow).items():
        expected = (n, n_services + (name in wide))
        if array.shape != expected:
            raise ValueError(
                f"{name} must have shape {expected}, one row a held-out exposure and one column "
                f"{'for nothing and each service' if name in wide else 'a service'}, got {array.shape}."
            )


def _days(at_us: NDArray[np.int64]) -> tuple[str, str]:
    days = np.array([at_us.min(), at_us.max()]).astype("datetime64[us]").astype("datetime64[D]")
    return str(days[0]), str(days[1])


def _mostly_shown(test: Dataset, policy: Floats) -> str | None:
    column = int(policy.mean(axis=0).argmax())
    return test.catalog.services[column - 1].name if column else None


def _pooled_reliability(test: Dataset, uptake: Floats) -> Reliability | None:
    rows = np.flatnonzero(test.service >= 0)
    if len(rows) < MIN_EXPOSURES:
        return None
    return uptake_reliability(test.uptake[rows], uptake[rows, test.service[rows]])


def _arms(test: Dataset, outcome: Floats) -> tuple[ArmFigures, ...]:
    labels = {NOTHING: "nothing", **dict(enumerate(service.name for service in test.catalog.services))}
    labels[SEVERAL] = "a list of several"
    arms = []
    for code, label in labels.items():
        rows = np.flatnonzero(test.service == code)
        if len(rows):
            propensity = np.quantile(test.slate_propensity[rows], [0, 0.5, 1]).tolist()
            arms.append(
                ArmFigures(
                    label=label,
                    n=len(rows),
                    n_users=len(np.unique(test.user[rows])),
                    uptake_rate=float(test.uptake[rows].mean()) if code >= 0 else None,
                    mean_outcome=float(outcome[rows].mean()),
                    propensity=(propensity[0], propensity[1], propensity[2]),
                )
            )
    return tuple(arms)
