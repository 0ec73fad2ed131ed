"""Small loops: what every run must keep to, and what a run of a shop of some size is held to."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from offers.settings import Settings
from perkwise import main
from training.loop.learner import LOOPS
from training.loop.market import Market
from training.loop.report import draw, render
from training.loop.simulate import Simulation, simulate
from training.loop.summary import Curve, curves, findings

NAMES = [rules.name for rules in LOOPS]


@pytest.fixture(scope="module")
def run():
    return simulate(800, 4, 3, seed=1, settings=Settings(), shift_week=3)


def test_all_loops_share_the_first_week_and_the_oracle_is_out_of_reach(run):
    assert [week.week for week in run.weeks] == [1, 2, 3]
    first = run.weeks[0].loops
    assert list(first) == NAMES and len({one.policy_share for one in first.values()}) == 1
    assert all(one.policy_share < 1 for week in run.weeks for one in week.loops.values())
    assert all(week.oracle > 0 for week in run.weeks)


def test_exploration_is_all_in_the_first_week_and_stops_where_it_must(run):
    explored = {name: [week.loops[name].notes.explore for week in run.weeks] for name in NAMES}
    assert all(shares[0] == 1 for shares in explored.values())
    assert explored["perkwise"] == pytest.approx([1, 1 / 2, 1 / 3])
    assert explored["no_exploration"][1:] == [0, 0]


def test_the_same_seed_gives_the_same_numbers(run):
    assert simulate(800, 4, 3, seed=1, settings=Settings(), shift_week=3) == run


def test_what_was_told_as_json_is_read_back(run):
    assert Simulation.from_json(json.loads(json.dumps(run.to_json()))) == run


def test_an_oracle_cannot_be_bettered_in_its_own_world():
    market = Market.open(300, 4, 2, np.random.default_rng(0))
    truth = market.truth()
    best = truth.worth(truth.oracle(2))
    rng = np.random.default_rng(1)
    for _ in range(20):
        lists = np.argsort(rng.random((300, 4)), axis=1)[:, :2]
        lists[rng.random(300) < 0.5, 1] = -1
        assert (truth.worth(lists) <= best + 1e-9).all()


def test_the_command_answers_in_json_and_writes_the_page(tmp_path, monkeypatch):
    monkeypatch.setenv("PERKWISE_HOME", str(tmp_path))
    arguments = ["simulate-loop", "--users", "600", "--services", "4", "--weeks", "2", "--json"]
    ran = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    answer = json.loads(ran.stdout)
    assert [week["week"] for week in answer["weeks"]] == [1, 2]
    assert all(list(week["oracle_share"]) == NAMES for week in answer["weeks"])
    assert answer["weeks"][1]["notes"]["perkwise"]["rows"] == 600
    page = (tmp_path / "var" / "loop.html").read_text(encoding="utf-8")
    assert "without exploration" in page and "perkwise simulate-loop --users 600" in page


def test_too_small_a_world_is_refused():
    with pytest.raises(ValueError, match="users must be at least 200, got 5"):
        simulate(5, 4, 2, 0, Settings())


def test_runs_together_have_intervals_and_the_page_shows_them(run):
    other = replace(run, seed=2, weeks=tuple(_poorer(week) for week in run.weeks))
    found = curves([run, other])["perkwise"]
    mean = run.shares("perkwise") - 0.1
    np.testing.assert_allclose(found.mean, mean)
    assert (found.low < mean).all() and (found.high > mean).all()
    page = render([run, other], "a command")
    assert "2 seeds" in page and 'class="loop"' in page and page == render([run, other], "a command")
    assert len(draw([run]).axes) == 1


def _poorer(week):
    loops = {
        name: replace(one, policy_share=one.policy_share - 0.2) if name == "perkwise" else one
        for name, one in week.loops.items()
    }
    return replace(week, loops=loops)


def test_an_interval_is_student_s():
    curve = Curve.of(np.array([[0.4], [0.5], [0.6]]))
    assert curve.mean[0] == pytest.approx(0.5)
    assert curve.high[0] - 0.5 == pytest.approx(4.302653 * 0.1 / np.sqrt(3), rel=1e-5)


def test_findings_tell_of_fall_and_recovery(run):
    shares = {"perkwise": [0.5, 0.6, 0.3, 0.65], "uptake_only": [0.55, 0.5, 0.5, 0.5]}
    weeks = tuple(
        replace(
            run.weeks[0],
            week=place + 1,
            loops={
                name: replace(run.weeks[0].loops["perkwise"], policy_share=values[place])
                for name, values in shares.items()
            },
        )
        for place in range(4)
    )
    told = " ".join(findings([replace(run, weeks=weeks, shift_week=3)]))
    assert "From week 4 on the loop is worth more than ranking by uptake alone." in told
    assert "from 60 % the share fell to 30 %, in week 4 65 %; it is back where it was in week 4." in told


@pytest.mark.slow
def test_a_loop_passes_ranking_by_uptake_and_recovers_from_a_shift():
    run = simulate(5000, 12, 12, seed=2, settings=Settings(), shift_week=7, loops=[LOOPS[0], LOOPS[2]])
    ours, uptake = run.shares("perkwise"), run.shares("uptake_only")
    assert (ours[2:] > uptake[2:] + 0.15).all()
    assert ours[-1] > 0.25
    assert ours[8] > ours[5] - 0.05
