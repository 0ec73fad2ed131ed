"""Every command of the command line, in the order in which the stages run."""

import gzip
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import httpx
import pandas as pd
import pytest

from features.importers.hillstrom import ATTRIBUTES
from perkwise import main
from tests.checkerboard import N_TEST, N_TRAIN, N_USERS, gain
from tests.project import (
    ROOT,
    answer,
    copy_project,
    folder_bytes,
    free_port,
    make_project,
    registered_champion,
    run,
    said,
)
from training.champion import install_champion

STAGES = [
    "world",
    "import",
    "validate",
    "profile",
    "train",
    "evaluate",
    "promote",
    "rollback",
    "score",
    "keys",
    "rules",
    "simulate-loop",
    "portfolio",
    "serve",
    "replay",
    "budget",
    "export-log",
    "package",
    "demo",
]
POLICIES = {"perkwise", "nothing", "random", "best_constant", "popularity", "response"}
INTERVAL = {"value", "low", "high"}
SERVICE = {
    "n",
    "uptake_ece",
    "qini",
    "qini_low",
    "qini_high",
    "auuc",
    "uplift_mean",
    "uplift_low",
    "uplift_high",
    "uplift_learned",
    "uplift_learned_low",
    "uplift_learned_high",
    "cold",
    "roi",
}


def commands(
    group: click.Group = main, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
        else:
            found.append(((*path, name), command))
    return found


def test_commands_are_listed_in_the_order_in_which_the_stages_run(tmp_path):
    listed = run(tmp_path, "--help").stdout.split("Commands:")[1]
    assert re.findall(r"^  ([\w-]+)  ", listed, flags=re.M) == STAGES


@pytest.mark.parametrize(
    "path, command", commands(), ids=lambda part: " ".join(part) if isinstance(part, tuple) else ""
)
def test_the_help_of_every_command_has_an_example(tmp_path, path, command):
    text = said(run(tmp_path, *path, "--help"))
    assert f"Example: perkwise {' '.join(path)}" in text
    assert ("--json" in text) == (path != ("serve",))


def test_help_answers_without_the_libraries_that_take_seconds_to_import():
    script = "import sys, perkwise; perkwise.main(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"mlflow", "lightgbm", "bentoml", "sklearn", "matplotlib"} & set(done.stdout.split())


def test_world_writes_tables_and_their_truth_and_the_same_seed_the_same_bytes(tmp_path):
    sizes = ["--users", 60, "--services", 3, "--days", 120]
    made = answer(run(tmp_path, "world", *sizes, "--seed", 1, tmp_path / "one", "--json"))
    assert made["rows"]["users"] == 60 and made["rows"]["services"] == 3
    text = said(run(tmp_path, "world", *sizes, "--seed", 1, tmp_path / "two"))
    assert text.startswith("Wrote 60 users, 3 services, ") and text.endswith(f"{tmp_path / 'two' / 'truth'}.")
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")
    run(tmp_path, "world", *sizes, "--seed", 2, tmp_path / "two")
    assert folder_bytes(tmp_path / "one") != folder_bytes(tmp_path / "two")
    checked = answer(run(tmp_path, "validate", tmp_path / "one", "--json"))
    assert {name: checked["tables"][name]["accepted"] for name in made["rows"]} == made["rows"]


def test_import_hillstrom_writes_a_data_folder(tmp_path):
    trial = pd.DataFrame(
        {
            **{name: [1, 2, 3] for name in ATTRIBUTES},
            "segment": ["Mens E-Mail", "Womens E-Mail", "No E-Mail"],
            **{"visit": [1, 0, 0], "conversion": [1, 0, 0], "spend": [29.99, 0, 0]},
        }
    )
    trial.to_parquet(tmp_path / "hillstrom.parquet")
    out = tmp_path / "var" / "trial"
    assert answer(run(tmp_path, "import", "hillstrom", tmp_path, out, "--json")) == {"out": str(out)}
    assert said(run(tmp_path, "import", "hillstrom", tmp_path, out)) == f"Wrote the data folder {out}."
    checked = answer(run(tmp_path, "validate", out, "--json"))
    assert [checked["tables"][name]["accepted"] for name in ("users", "orders", "exposures")] == [3, 1, 3]


def test_import_starbucks_writes_a_data_folder_with_the_window_that_was_asked_for(tmp_path):
    offer = {
        "id": "five",
        "offer_type": "bogo",
        "difficulty": 5,
        "reward": 5,
        "duration": 7,
        "channels": ["web"],
    }
    user = {"id": "ann", "gender": "F", "age": 31, "income": 50_000, "became_member_on": "20180726"}
    log = [("offer received", {"offer id": "five"}, 0), ("transaction", {"amount": 9.5}, 6)]
    log += [("offer received", {"offer id": "five"}, 168), ("transaction", {"amount": 1}, 714)]
    rows = {
        "portfolio": [offer],
        "profile": [user],
        "transcript": [
            {"person": "ann", "event": event, "value": value, "time": at} for event, value, at in log
        ],
    }
    for name, lines in rows.items():
        (tmp_path / f"{name}.json.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    out = tmp_path / "rewards"
    assert answer(run(tmp_path, "import", "starbucks", tmp_path, out, "--window-days", 4, "--json")) == {
        "out": str(out)
    }
    assert "uptake_days = 4" in (out / "perkwise.toml").read_text()
    assert answer(run(tmp_path, "validate", out, "--json"))["tables"]["orders"]["accepted"] == 2


def test_validate_counts_by_rule_and_is_content_as_long_as_every_table_is_usable(home):
    shop = home / "var" / "shop"
    assert "Quarantined" not in said(run(home, "validate", shop))
    orders = pd.read_parquet(shop / "orders.parquet")
    strange = orders.iloc[:3].assign(order_id=["x", "y", "z"], user_id=["nobody", "nobody", "u000"])
    pd.concat([orders, strange]).to_parquet(shop / "orders.parquet", index=False)
    found = answer(run(home, "validate", shop, "--json"))
    assert found["tables"]["orders"] == {
        "read": len(orders) + 3,
        "accepted": len(orders) + 1,
        "quarantined": 2,
        "unknown_columns": [],
    }
    assert [(rule["table"], rule["column"], rule["rows"]) for rule in found["rules"]] == [
        ("orders", "user_id", 2)
    ]
    (file,) = found["quarantine"]
    assert len(pd.read_csv(file)) == 2
    text = said(run(home, "validate", shop))
    assert "Quarantined, by rule" in text and f"Each row with its remedy: {file}" in text


def test_a_log_without_propensities_is_counted_and_its_report_says_estimated(home, trained):
    shop = home / "var" / "shop"
    exposures = pd.read_parquet(shop / "exposures.parquet")
    exposures.drop(columns=["propensity", "slate_propensity"]).to_parquet(
        shop / "exposures.parquet", index=False
    )
    assert answer(run(home, "validate", shop, "--json"))["propensities_missing"] == len(exposures)
    told = f"{len(exposures):,} of {len(exposures):,} exposures name no propensity: training estimates it"
    assert told in said(run(home, "validate", shop))
    page = home / "var" / "bare.html"
    bundle = ["--bundle", trained.first["bundle"]]
    text = said(run(home, "evaluate", shop, *bundle, "--out", page))
    assert "Propensities are estimated: what decided but stands in no profile biases every figure." in text
    assert "Propensities are <b>estimated</b>" in page.read_text()


def test_profile_writes_a_row_for_every_user_with_a_tier(home):
    file = home / "var" / "profiles.parquet"
    arguments = ["profile", home / "var" / "shop", "--as-of", "2025-04-01T00:00:00Z", "--out", file]
    found = answer(run(home, *arguments, "--json"))
    profiles = pd.read_parquet(file)
    assert found["users"] == len(profiles) == N_USERS
    assert profiles["tier"].value_counts().to_dict() == {tier: n for tier, n in found["tiers"].items() if n}
    assert list(found["tiers"]) == ["basic", "bronze", "silver", "gold", "platinum", "diamond"]
    assert said(run(home, *arguments)).startswith(
        f"Wrote {N_USERS} profiles of {found['columns']} columns to "
    )


def test_train_tells_where_the_bundle_is_and_how_long_each_stage_took(trained):
    found = trained.first
    assert set(found) == {"run_id", "bundle", "path", "rows", "services", "seconds", "suspicions"}
    assert found["rows"] == {"train": N_TRAIN, "test": N_TEST}
    assert found["services"] == 2
    assert found["suspicions"] == []
    assert set(found["seconds"]) == {"profiles", "tuning", "uptake", "uplift", "evaluation"}
    assert Path(found["path"]).name == found["bundle"]
    assert (Path(found["path"]) / "manifest.json").is_file()


def test_train_tells_a_person_the_verdict_and_what_to_type_next(trained):
    assert "more per customer contact than the best single offer" in trained.told
    assert "Doubly robust value on" in trained.told and "oracle" in trained.told
    assert f"Bundle {trained.home / 'var' / 'bundles' / trained.second.bundle.name}" in trained.told
    ends = f"Run second ({trained.second.run_id}); let it be served with: perkwise promote second"
    assert trained.told.endswith(ends)


@pytest.fixture(scope="module")
def promoted(trained, tmp_path_factory) -> tuple[Path, dict]:
    """A project whose first run is the champion, and the answer of its promotion."""
    home = copy_project(trained.home, tmp_path_factory.mktemp("promoted") / "home")
    return home, answer(run(home, "promote", "first", "--json"))


@pytest.fixture(scope="module")
def evaluated(promoted) -> dict:
    """The answer of `perkwise evaluate` on the champion, by the seed of its training."""
    home, _ = promoted
    arguments = ["evaluate", home / "var" / "shop", "--seed", 7, "--out", home / "new" / "report.html"]
    return answer(run(home, *arguments, "--json"))


def test_evaluate_gives_the_figures_that_others_read(evaluated):
    assert set(evaluated) == {
        "outcome",
        "unit",
        "n_test",
        "policies",
        "lists",
        "choice_load",
        "gain",
        "services",
        "checks",
        "importances",
        "report",
    }
    assert {check["verdict"] for check in evaluated["checks"]} <= {"fine", "note"}
    assert (evaluated["outcome"], evaluated["unit"], evaluated["n_test"]) == ("margin", "EUR", N_TEST)
    assert set(evaluated["policies"]) == POLICIES
    assert all(set(figures) == INTERVAL | {"ips", "snips"} for figures in evaluated["policies"].values())
    assert set(evaluated["gain"]) == {"over_best_constant", "over_response", "over_random"}
    assert all(set(figures) == INTERVAL for figures in evaluated["gain"].values())
    assert set(evaluated["services"]) == {"a", "b"}
    assert all(set(figures) == SERVICE for figures in evaluated["services"].values())


def test_a_change_of_settings_is_priced_before_it_ships(promoted, tmp_path):
    home, _ = promoted
    shop, wider = home / "var" / "shop", tmp_path / "one.toml"
    wider.write_text("[decision]\nmax_services = 1\n")
    priced = answer(run(home, "evaluate", shop, "--settings", wider, "--json"))
    old, new = priced["bundles"]
    assert old == new and priced["unit"] == "EUR" and priced["n"] == N_TEST
    assert set(priced["exact"]) == INTERVAL and priced["new"]["length"] <= 1
    told = said(run(home, "evaluate", shop, "--against", old))
    assert "the lists differ on 0" in told and "Both decide alike on every logged decision" in told


def test_evaluate_repeats_the_figures_of_the_training(trained, evaluated):
    of_training = trained.home / "var" / "reports" / f"{trained.first['bundle']}.json"
    assert evaluated == json.loads(of_training.read_text()) | {"report": evaluated["report"]}


def test_evaluate_finds_what_is_true_by_construction(evaluated):
    gains = {(service, side): gain(service, side) for service in "ab" for side in ("left", "right")}
    best = (gains["a", "left"] + gains["b", "right"]) / 2
    truth = {
        "over_best_constant": best - (gains["a", "left"] + gains["a", "right"]) / 2,
        "over_random": best - sum(gains.values()) / 4,
    }
    for name, value in truth.items():
        interval = evaluated["gain"][name]
        assert 0 < interval["low"] < value < interval["high"]


def test_the_report_is_one_page_that_loads_nothing(evaluated):
    page = Path(evaluated["report"]).read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert not re.search(r"(src|href)=.https?:|url\((?!#)|@import", page)


def test_promote_asks_the_gate_and_installs_the_champion(trained, promoted):
    home, found = promoted
    assert set(found) == {"promoted", "reason", "bundle", "n_more", "level", "unit", "comparisons"}
    assert (found["promoted"], found["bundle"]) == (True, trained.first["bundle"])
    assert (found["n_more"], found["level"], found["unit"]) == (0, 0.95, "EUR")
    assert found["reason"].startswith("promote: it gains ")
    assert [one["rival"] for one in found["comparisons"]] == ["best_constant", "response"]
    for one in found["comparisons"]:
        assert 0 < one["low"] < one["value"] < one["high"] and one["n_more"] == 0
        assert (one["n"], 2 * one["n_differ"]) == (N_TEST, N_TEST)
    assert folder_bytes(home / "var" / "champion") == folder_bytes(Path(trained.first["path"]))
    assert registered_champion(home) == found["bundle"]


def test_promote_shows_a_person_each_comparison_and_one_sentence(trained, home):
    install_champion(trained.second.bundle, home / "var")
    told = said(run(home, "promote", "first"))
    assert told.startswith(
        f"EUR an exposure, of {N_TEST:,} held out; 95% bounds that hold at every look "
        "gain over EUR at least at most differ on missing "
    )
    assert "Current champion 0 0% no end Best single offer " in told and "Likeliest to be used" in told
    assert told.endswith(f" 0 keep: it decides like the champion on all {N_TEST:,} held-out exposures.")
    again = run(home, "promote", "second", "--data", home / "var" / "wider")
    assert said(again) == "keep: it is the champion already."


def test_rollback_brings_the_earlier_champion_back_to_the_byte(trained, promoted, tmp_path):
    home = copy_project(promoted[0], tmp_path / "home")
    first, before = trained.first["bundle"], hashes(home / "var" / "champion")
    found = answer(run(home, "promote", "second", "--json"))
    assert [one["rival"] for one in found["comparisons"]] == ["champion", "best_constant", "response"]
    assert found["promoted"]
    assert hashes(home / "var" / "champion") != before
    assert registered_champion(home) == trained.second.bundle.name
    assert answer(run(home, "rollback", "--json")) == {
        "bundle": first,
        "path": str(home / "var" / "bundles" / first),
    }
    assert hashes(home / "var" / "champion") == before
    assert registered_champion(home) == first
    install_champion(trained.second.bundle, home / "var")
    assert said(run(home, "rollback")) == (
        f"The champion is {first} again. "
        "Services that run without --bundle take it over in a moment, as GET /services tells."
    )


def hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in folder_bytes(folder).items()}


@pytest.mark.slow
def test_a_kill_amid_promote_or_rollback_leaves_one_whole_champion(trained, promoted, tmp_path):
    home = copy_project(promoted[0], tmp_path / "home")
    whole = [hashes(Path(trained.first["path"])), hashes(trained.second.bundle)]
    environment = {**os.environ, "PERKWISE_HOME": str(home)}
    draw, killed = random.Random(3), 0
    for arguments in (["promote", "second"], ["rollback"]) * 6:
        command = subprocess.Popen([sys.executable, "-m", "perkwise", *arguments], cwd=ROOT, env=environment)
        try:
            command.wait(timeout=draw.uniform(0, 8 if arguments[0] == "promote" else 3))
        except subprocess.TimeoutExpired:
            command.kill()
            command.wait()
            killed += 1
        assert hashes(home / "var" / "champion") in whole
    assert killed > 0
    run(home, "promote", "second")  # whatever was cut short is finished by the next
    assert hashes(home / "var" / "champion") == whole[1]
    assert registered_champion(home) == trained.second.bundle.name
    assert answer(run(home, "rollback", "--json"))["bundle"] == trained.first["bundle"]
    assert hashes(home / "var" / "champion") == whole[0]


def test_score_decides_for_every_user_within_the_budget(trained, home):
    shop, file = home / "var" / "shop", home / "new" / "slates.parquet"
    arguments = ["score", shop, "--bundle", trained.first["bundle"][:6], "--as-of", "2025-05-14T00:00:00Z"]
    found = answer(run(home, *arguments, "--budget", 300, "--out", file, "--json"))
    assert set(found) == {"out", "rows", "users_by_arm", "expected_cost", "money_price"}
    rows = pd.read_parquet(file)
    assert found["rows"] == len(rows) and rows["user_id"].nunique() == N_USERS
    assert set(found["users_by_arm"]) == {"policy", "explore", "holdout"}
    assert sum(found["users_by_arm"].values()) == N_USERS
    assert 290 < found["expected_cost"] <= 300 and found["money_price"] > 0
    offered = rows[(rows["arm"] == "policy") & (rows["service_id"] != "")]
    side = pd.read_parquet(shop / "users.parquet").set_index("user_id")["side"]
    fits = offered["service_id"].to_numpy() == offered["user_id"].map(side).map({"left": "a", "right": "b"})
    assert len(offered) > 100 and fits.mean() > 0.97


@pytest.mark.alone
def test_serve_is_ready_in_time_answers_and_ends_when_told_to(trained, promoted):
    home, _ = promoted
    port = free_port()
    command = [sys.executable, "-m", "perkwise", "serve", "--port", str(port)]
    began = time.monotonic()
    service = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PERKWISE_HOME": str(home)}, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until_ready(service, port)
        seconds = time.monotonic() - began
        asked = httpx.post(f"http://127.0.0.1:{port}/recommend", json={"user_id": "u001", "n": 1}, timeout=20)
    finally:
        service.send_signal(signal.SIGTERM)
        _, told = service.communicate(timeout=20)
    assert asked.json()["bundle"] == trained.first["bundle"]
    assert f"Ready at http://127.0.0.1:{port}" in told and "Traceback" not in told
    assert service.returncode == 0
    assert f"bundle={trained.first['bundle']}" in told and "users=900" in told and "keys=not needed" in told
    assert seconds < 15
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/livez")


def wait_until_ready(service: subprocess.Popen, port: int) -> None:
    for _ in range(600):
        assert service.poll() is None, service.communicate()[1]
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the service was not ready within a minute")


@pytest.mark.slow
def test_demo_does_the_main_job_and_leaves_a_champion_of_other_services_alone(tmp_path):
    home = make_project(tmp_path)
    sizes = ["--users", 400, "--seed", 1]
    found = answer(run(home, "demo", *sizes, "--services", 3, "--json"))
    assert set(found) == {"report", "run_id", "bundle", "oracle_share", "gate", "answer"}
    assert Path(found["report"]).is_file() and found["oracle_share"]["nothing"] == 0
    assert found["gate"].startswith(("promote: ", "keep: "))
    assert found["answer"]["bundle"] == found["bundle"] and len(found["answer"]["services"]) <= 3
    if not (home / "var" / "champion").is_symlink():
        install_champion(home / "var" / "bundles" / found["bundle"], home / "var")
    text = said(run(home, "demo", *sizes, "--services", 4))
    assert "Gate not asked: the champion is of other services than the demo's, and stays." in text
    assert "POST /recommend" in text and "perkwise train DATA --name first" in text
    assert (home / "var" / "champion").resolve().name == found["bundle"]
