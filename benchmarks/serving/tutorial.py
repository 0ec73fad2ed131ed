"""The service that tutorials build: a booster for each figure, asked through a pandas DataFrame of one row.

bentoml serve benchmarks.serving.tutorial:Tutorial
"""

import bentoml
import lightgbm as lgb
import numpy as np
import pandas as pd

N_SERVICES, N_FEATURES, N_USERS = 35, 60, 10_000
N_ROUNDS, N_LEAVES = 100, 7  # about those of a bundle's models of one service

_KINDS = {"uptake": "binary", "uplift": "regression"}


def train(users: pd.DataFrame, rng: np.random.Generator) -> dict[tuple[int, str], lgb.Booster]:
    """Boosters by service and kind, on users whose answers hang on a few of the features."""
    rows = users.iloc[:2000]
    X, boosters = rows.to_numpy(), {}
    for service in range(N_SERVICES):
        for kind, objective in _KINDS.items():
            score = X @ (rng.normal(size=N_FEATURES) * (rng.random(N_FEATURES) < 0.1))
            noisy = score + rng.normal(size=len(X))
            options = {"objective": objective, "num_leaves": N_LEAVES, "verbose": -1, "num_threads": 1}
            target = lgb.Dataset(rows, noisy > 0 if kind == "uptake" else noisy)
            boosters[service, kind] = lgb.train(options, target, N_ROUNDS)
    return boosters


@bentoml.service(workers=1)
class Tutorial:
    """The services of greatest predicted uplift for one user, whose features lie in a DataFrame."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.users = pd.DataFrame(
            rng.normal(size=(N_USERS, N_FEATURES)),
            index=[str(number) for number in range(N_USERS)],
            columns=[f"feature_{number}" for number in range(N_FEATURES)],
        )
        self.boosters = train(self.users, rng)

    @bentoml.api
    def recommend(self, user_id: str, n: int = 5) -> dict:
        row = self.users.loc[[user_id]]
        offers = [
            {"service_id": f"S{service}"}
            | {kind: float(self.boosters[service, kind].predict(row)[0]) for kind in _KINDS}
            for service in range(N_SERVICES)
        ]
        offers.sort(key=lambda offer: offer["uplift"], reverse=True)
        return {"user_id": user_id, "offers": offers[:n]}
