"""`perkwise rules check | diff | dry-run`, and a change of rules priced by `perkwise evaluate`."""

import json

import pandas as pd
import pytest

from tests.checkerboard import N_TEST, N_USERS
from tests.project import answer, copy_project, refused, run, said

SOUND = """
rules:
  - name: loyal
    services: [a]
    who: frequency_all >= 1
  - name: one
    services: all
    limits: {list_at_most: 1}
    switchable: true
"""
NONE_OF_A = "rules:\n  - {name: away, services: [a], switchable: true, enabled: false}\n"
ALMOST_ALL = "rules:\n  - {name: whale, services: [a], who: monetary_all < 5000}\n"


@pytest.fixture
def shop(trained, tmp_path):
    """A copy of the project's data folder in a home of its own, with its first bundle."""
    return copy_project(trained.home, tmp_path / "home") / "var" / "shop"


@pytest.fixture
def rules(shop, trained, tmp_path):
    """`perkwise rules …` in that home; texts become files of rules."""

    def ask(command, *arguments):
        named = []
        for number, one in enumerate(arguments):
            if isinstance(one, str) and one.startswith(("rules:", "\nrules:")):
                file = tmp_path / f"rules-{number}.yaml"
                file.write_text(one, encoding="utf-8")
                one = file
            named.append(one)
        bundle = [] if command == "check" else ["--bundle", trained.first["bundle"]]
        return run(shop.parents[1], "rules", command, *named, *bundle)

    return ask


def test_sound_rules_are_told_with_the_combinations_that_were_checked(rules, shop, tmp_path):
    told = said(rules("check", SOUND, "--data", shop))
    assert told.endswith("rules-0.yaml is sound: 2 rules, 2 combinations of switches checked.")
    found = answer(rules("check", SOUND, "--data", shop, "--json"))
    assert set(found) == {"file", "hash", "sound", "rules", "findings", "switches"}
    assert (found["sound"], found["rules"]) == (True, ["loyal", "one"])


def test_every_fault_is_told_with_its_line_and_ends_in_an_error(rules, shop):
    wrong = "rules:\n  - {name: r, services: [aa], who: frequency_al >= 1}\n  - {name: r, services: [b]}\n"
    result = rules("check", wrong, "--data", shop)
    assert result.exit_code == 1 and "Traceback" not in result.stderr
    told = " ".join(result.stdout.split())
    assert "line 2: rule `r`: there is no service `aa`" in told and "did you mean `frequency_all`?" in told
    assert "line 3:" in told and told.endswith("is not sound.")
    as_json = rules("check", wrong, "--data", shop, "--json")
    found = json.loads(as_json.stdout)
    assert as_json.exit_code == 1 and not found["sound"] and found["switches"] is None
    assert {one["line"] for one in found["findings"] if one["severity"] == "fault"} >= {2, 3}


def test_without_a_file_a_check_says_where_one_is_looked_for(rules, shop, tmp_path):
    assert "there is no rules.yaml in" in refused(rules("check", "--data", shop))
    gone = refused(rules("check", tmp_path / "gone.yaml", "--data", shop))
    assert "there is no rules file" in gone and "docs/rules.md shows how" in gone
    (shop / "rules.yaml").write_text(SOUND)
    assert f"{shop / 'rules.yaml'} is sound" in said(rules("check", "--data", shop))


def test_a_diff_tells_what_changed_and_whom_it_concerns(rules, shop):
    fewer = SOUND.replace("frequency_all >= 1", "frequency_all >= 3")
    told = said(rules("diff", SOUND, fewer, shop))
    assert "Rule `loyal`: who was `frequency_all >= 1`, is `frequency_all >= 3`" in told
    assert f"Of {N_USERS:,} users" in told and " 0 allowed something more" in told
    found = answer(rules("diff", SOUND, fewer, shop, "--json"))
    assert set(found) == {"old", "new", "changes", "users", "refused_more", "allowed_more", "other_list"}
    assert found["users"] == N_USERS and 0 < found["other_list"] <= found["refused_more"] < N_USERS
    assert (
        said(rules("diff", SOUND, SOUND.replace("rules:", "rules:  # as before")))
        == "The rules are the same."
    )


def test_a_diff_of_rules_with_faults_is_refused_with_all_of_them(rules, shop):
    wrong = "rules:\n  - {name: r, services: [aa]}\n"
    told = refused(rules("diff", SOUND, wrong, shop))
    assert "rules-1.yaml has faults:" in told and "- line 2: rule `r`: there is no service `aa`" in told


def test_a_dry_run_prices_rules_on_the_log_and_by_the_models(rules, shop):
    found = answer(rules("dry-run", shop, "--rules", NONE_OF_A, "--json"))
    assert set(found) == {
        "users",
        "refused_more",
        "allowed_more",
        "other_list",
        "by_service",
        "by_tier",
        "examples",
        "worth",
        "worth_on_log",
    }
    assert (found["users"], found["refused_more"], found["allowed_more"]) == (N_USERS, N_USERS, 0)
    assert found["by_service"]["a"]["after"] == 0 < found["by_service"]["a"]["before"]
    assert found["worth"]["kind"] == "by the models" and found["worth"]["high"] < 0
    on_log = found["worth_on_log"]
    assert on_log["kind"] == "off-policy, on the log" and on_log["change"]["n"] == N_TEST
    assert on_log["change"]["exact"]["high"] < 0 and "EUR less a decision" in on_log["verdict"]
    assert found["examples"][0]["why_not"] == {"a": "rule `away`: it is switched off"}
    told = said(rules("dry-run", shop, "--rules", NONE_OF_A))
    assert f"of {N_USERS} users would get something else." in told
    assert "On the log: The change earns" in told and "By the models: -" in told


def test_a_dry_run_says_where_the_log_is_too_short(rules, shop):
    found = answer(rules("dry-run", shop, "--rules", ALMOST_ALL, "--json"))
    assert found["worth_on_log"]["verdict"].startswith("Not enough data: ")
    assert found["refused_more"] == 1


def test_a_dry_run_without_a_file_compares_the_rules_in_force_with_none(rules, shop):
    told = said(rules("dry-run", shop))
    assert f"0 of {N_USERS} users" in told and "Both decide alike on every logged decision" in told
    (shop / "rules.yaml").write_text(NONE_OF_A)
    assert answer(rules("dry-run", shop, "--json"))["refused_more"] == N_USERS


def test_a_dry_run_without_exposures_that_were_kept_says_so(rules, shop):
    exposures = pd.read_parquet(shop / "exposures.parquet")
    exposures[exposures["shown_at"] < "2025-02-15"].to_parquet(shop / "exposures.parquet", index=False)
    found = answer(rules("dry-run", shop, "--rules", NONE_OF_A, "--json"))
    assert found["worth_on_log"]["change"] is None
    assert found["worth_on_log"]["verdict"].startswith("The log cannot tell: ")


def test_evaluate_prices_rules_and_a_report_is_of_those_in_force(shop, trained, tmp_path):
    home, file = shop.parents[1], tmp_path / "next.yaml"
    file.write_text(NONE_OF_A)
    bundle = ["--bundle", trained.first["bundle"]]
    priced = answer(run(home, "evaluate", shop, "--rules", file, *bundle, "--json"))
    assert priced["rules"][0] == "" != priced["rules"][1] and priced["kind"] == "bad"
    before = answer(run(home, "evaluate", shop, *bundle, "--json"))
    (shop / "rules.yaml").write_text(NONE_OF_A)
    after = answer(run(home, "evaluate", shop, *bundle, "--json"))
    alone, with_rules = (one["policies"]["perkwise"]["value"] for one in (before, after))
    assert with_rules < alone
    assert with_rules - alone == pytest.approx(
        after["lists"]["policies"]["perkwise"]["exact"]["value"]
        - before["lists"]["policies"]["perkwise"]["exact"]["value"],
        rel=0.5,
    )
    (shop / "rules.yaml").write_text("rules:\n  - {name: r, services: [aa]}\n")
    assert "has faults" in refused(run(home, "evaluate", shop, *bundle))
