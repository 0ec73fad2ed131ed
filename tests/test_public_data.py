"""The main job on public data, command by command, against counts taken from the raw files."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from tests.project import answer, make_project, run

pytestmark = pytest.mark.slow

WAVES = [0, 168, 336, 408, 504, 576]  # hours, by the data's README
SHARES_OF_NOTHING = [0.256, 0.255, 0.252, 0.248, 0.253, 0.249]
N_USERS = 17_000


def train_and_evaluate(home: Path, data: Path) -> dict:
    bundle = answer(run(home, "train", data, "--trials", 0, "--json"))["bundle"]
    report = home / "report.html"
    return answer(run(home, "evaluate", data, "--bundle", bundle, "--out", report, "--json"))


@pytest.fixture(scope="module")
def starbucks(public_data, tmp_path_factory) -> tuple[Path, dict]:
    """The data folder, and the answer of `perkwise evaluate`."""
    home = make_project(tmp_path_factory.mktemp("starbucks"))
    data = home / "var" / "starbucks"
    answer(run(home, "import", "starbucks", public_data / "starbucks_rewards", data, "--json"))
    return data, train_and_evaluate(home, data)


@pytest.fixture(scope="module")
def received(public_data) -> list[tuple[int, str]]:
    """Hour and offer of every receipt in the raw log."""
    with gzip.open(public_data / "starbucks_rewards" / "transcript.json.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    return [(row["time"], row["value"]["offer id"]) for row in rows if row["event"] == "offer received"]


def rows_of(report: str) -> dict[str, list[str]]:
    """Cells of every row of the page's tables by the row's name; of several the last."""
    rows = re.findall(r'<tr><th scope="row">([^<]+)</th>(.*?)</tr>', report)
    return {name: re.findall(r"<td>([^<]*)</td>", cells) for name, cells in rows}


def test_the_raw_log_is_the_published_one(received):
    assert len(received) == 76_277
    offered = Counter(hour for hour, _ in received)
    assert [round(1 - offered[hour] / N_USERS, 3) for hour in WAVES] == SHARES_OF_NOTHING
    assert sum(offered.values()) == sum(offered[hour] for hour in WAVES)
    by_wave_and_offer = Counter(received)
    assert len(by_wave_and_offer) == 60
    assert all(abs(n - 1_265) < 4 * 1_265**0.5 for n in by_wave_and_offer.values())


def test_the_report_counts_every_wave_as_the_raw_log_does(starbucks, received):
    data, evaluation = starbucks
    rows = rows_of(Path(evaluation["report"]).read_text(encoding="utf-8"))
    begins = pd.Timestamp(min(pd.read_parquet(data / "exposures.parquet")["shown_at"]))
    offered = Counter(hour for hour, _ in received)
    for hour, share in zip(WAVES, SHARES_OF_NOTHING):
        wave = f"{begins + pd.Timedelta(hours=hour):%Y-%m-%d %H:%M}"
        nothing = N_USERS - offered[hour]
        assert rows[wave] == [
            "17,000",
            f"{offered[hour]:,}",
            f"{nothing:,}",
            f"{share:.1%}".replace("%", " %"),
        ]


def test_the_report_counts_every_offer_as_the_raw_log_does(starbucks, received):
    data, evaluation = starbucks
    rows = rows_of(Path(evaluation["report"]).read_text(encoding="utf-8"))
    name_of = pd.read_parquet(data / "services.parquet").set_index("service_id")["name"]
    by_offer = Counter(offer for _, offer in received)
    assert len(by_offer) == 10 and sum(by_offer.values()) == 76_277
    assert {name_of[offer]: rows[name_of[offer]][0] for offer in by_offer} == {
        name_of[offer]: f"{n:,}" for offer, n in by_offer.items()
    }


def test_the_last_waves_are_held_out(starbucks):
    _, evaluation = starbucks
    assert evaluation["n_test"] == 2 * N_USERS
    assert set(evaluation["services"]) == set(
        pd.read_parquet(starbucks[0] / "services.parquet")["service_id"]
    )


def test_perkwise_beats_chance_and_the_response_ranking_and_does_not_lose_to_the_best_offer(starbucks):
    gain = starbucks[1]["gain"]
    assert gain["over_random"]["low"] > 0
    assert gain["over_response"]["low"] > 0
    assert gain["over_best_constant"]["high"] >= 0


def test_hillstrom_runs_from_the_file_to_the_report(public_data, tmp_path):
    home = make_project(tmp_path)
    data = home / "var" / "hillstrom"
    answer(run(home, "import", "hillstrom", public_data / "hillstrom", data, "--json"))
    evaluation = train_and_evaluate(home, data)
    assert evaluation["n_test"] == pytest.approx(
        0.3 * 64_000, rel=0.02
    )  # of the users: there is one campaign
    assert set(evaluation["services"]) == {"mens-email", "womens-email"}
    n_shown = [service["n"] for service in evaluation["services"].values()]
    assert n_shown == pytest.approx([evaluation["n_test"] / 3] * 2, rel=0.05)
    assert evaluation["gain"]["over_best_constant"]["high"] >= 0
