"""The champion takes over in a running service; what cannot be served is told, and nothing is lost."""

import asyncio
import logging
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from offers.settings import BudgetLimit, ExplorationSettings
from serving.application import Application
from serving.config import ServeConfig
from serving.database import Database, reading
from serving.door import Door
from serving.filed import Filed
from serving.live_bundle import LiveBundle, read_first
from serving.replay import replay_all
from serving.schemas import RecommendRequest
from training.bundle import read_bundle
from training.bundle_files import BundleError
from training.champion import install_champion, rollback_champion

QUIET = ExplorationSettings(holdout=0.0, explore=0.0)


@pytest.fixture
def var(bundle, tmp_path):
    install_champion(bundle.path, tmp_path / "var")
    return tmp_path / "var"


def point(var, folder):
    """Make this very folder the champion, whatever is in it."""
    step = len(list((var / "champions").iterdir())) + 1
    (var / "champions" / f"{step:04d}").symlink_to(folder)
    (var / "new").symlink_to(f"champions/{step:04d}")
    (var / "new").rename(var / "champion")


class Service:
    """An application that follows the champion, polled by hand."""

    def __init__(self, tables, data, settings, clock, var, rules=()):
        config = ServeConfig(data, var / "champion", var / "state.db", settings, rules=rules, champion=var)
        bundle, _ = read_first(config, lambda folder: (read_bundle(folder), None))
        self.database = Database(config.state)
        self.door = Door()
        self.application = Application(tables, bundle, self.database, settings, clock, rules)

        def file(layout, windows):
            return Filed.of(tables, layout, windows.uptake_days)

        def take(application):
            self.application = application

        self.live = LiveBundle(config, self.application, file, take, self.door, clock)

    def poll_until(self, condition):
        until = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < until, self.application.bundle_faults
            self.live.poll_application()
            self.live.poll_bundle()
            time.sleep(0.01)

    def follow(self, bundle):
        self.poll_until(lambda: self.application.bundle.hash == bundle.hash)

    def ask(self, user_id, application=None, **request):
        application = application or self.application
        return asyncio.run(application.recommend(RecommendRequest(user_id=user_id, **request)))

    def profile(self, user_id):
        return asyncio.run(self.application.profile(user_id))["features"]

    def post(self, *rows, application=None):
        answer = asyncio.run((application or self.application).events(rows))
        assert answer["accepted"] == len(rows)

    def close(self):
        self.live.close()
        self.database.close()


@pytest.fixture
def start(tables, data, clock, var):
    """Starts a service; all are closed at the end."""
    begun = []

    def start(settings, rules=()):
        begun.append(Service(tables, data, settings, clock, var, rules))
        return begun[-1]

    yield start
    for one in begun:
        one.close()


def used(event_id, user_id, service_id):
    return {
        "event_id": event_id,
        "user_id": user_id,
        "event": "used",
        "at": "2027-01-10T00:00:00Z",
        "service_id": service_id,
    }


def test_a_promoted_bundle_takes_over_and_a_rollback_brings_the_other_back(
    start, settings, var, second, bundle, user_id, tables, caplog
):
    caplog.set_level(logging.INFO, logger="perkwise")
    service = start(replace(settings, exploration=QUIET))
    users = tables.users["user_id"].astype(str).tolist()[:40]
    answers = [service.ask(one, n=2) for one in users]
    install_champion(second.path, var)
    service.follow(second)
    answers += [service.ask(one, n=2) for one in users]
    rollback_champion(var)
    service.follow(bundle)
    answers += [service.ask(one, n=2) for one in users]
    assert [one["bundle"] for one in answers] == [
        found.hash for found in (bundle, second, bundle) for _ in users
    ]
    lists = [[offer["service_id"] for offer in one["services"]] for one in answers]
    assert lists[:40] != lists[40:80]  # other models
    of = {one.hash: one for one in (bundle, second)}
    with reading(var / "state.db") as connection:
        replayed = replay_all(connection, of.__getitem__)
    assert (replayed.n_replayed, replayed.n_same) == (120, 120)  # each by the very bundle that it names
    assert f"The bundle {second.hash} is served now, {bundle.hash} before." in caplog.text


def test_what_comes_in_to_the_old_one_after_the_take_over_is_known_to_the_new_one(
    start, settings, var, second, bundle, user_id
):
    service = start(replace(settings, exploration=QUIET))
    old, service_id = service.application, bundle.catalog.ids[0]
    column = f"uses_90d/{service_id}"
    install_champion(second.path, var)
    service.follow(second)
    service.post(used("e1", "somebody", service_id), application=old)
    service.post(used("e2", "somebody", service_id))
    assert service.profile("somebody")[column] == 2
    assert service.ask("somebody", application=old)["bundle"] == bundle.hash
    asyncio.run(old.delete_user(user_id))
    assert not service.application.state.knows(user_id)


def test_a_bundle_of_other_costs_takes_over_with_all_that_came_in(start, settings, var, third, bundle):
    budget = BudgetLimit("all", contacts=1000)
    service = start(replace(settings, exploration=QUIET, budgets=(budget,)))
    service_id = bundle.catalog.ids[0]
    service.post(used("e1", "somebody", service_id))
    shown = service.ask("somebody")
    before = asyncio.run(service.application.services())["budgets"]
    install_champion(third.path, var)
    service.follow(third)
    assert service.profile("somebody")[f"uses_90d/{service_id}"] == 1
    after = asyncio.run(service.application.services())
    assert after["budgets"][0]["spent"] == pytest.approx(before[0]["spent"])
    assert after["services"][0]["unit_cost"] == bundle.catalog.services[0].unit_cost + 1
    assert shown["services"] and before[0]["spent"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("which", ["second", "third"])
def test_rules_in_force_stay_and_are_read_on(start, settings, var, bundle, which, request, tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text("rules: []\n")
    service = start(settings, rules=(file,))
    other = request.getfixturevalue(which)
    install_champion(other.path, var)
    file.write_text(
        f"rules:\n  - name: early\n    services: [{bundle.catalog.ids[0]}]\n    who: frequency_all >= 0\n"
    )
    service.follow(other)

    def names():
        return [rule.name for rule in service.application.rules.in_force.rules.rules]

    service.poll_until(lambda: names() == ["early"])
    file.write_text(
        f"rules:\n  - name: late\n    services: [{bundle.catalog.ids[0]}]\n    who: frequency_all >= 0\n"
    )
    service.poll_until(lambda: names() == ["late"])


def test_a_damaged_champion_is_refused_in_words_until_it_is_whole(
    start, settings, var, second, bundle, user_id, tmp_path, caplog
):
    service = start(settings)
    broken = Path(shutil.copytree(second.path, tmp_path / "broken" / second.path.name))
    file = broken / "uptake" / "uptake.json"
    content = file.read_bytes()
    file.write_bytes(content[:-2])
    point(var, broken)
    service.poll_until(lambda: service.application.bundle_faults)
    (fault,) = asyncio.run(service.application.services())["bundle_faults"]
    assert "['uptake/uptake.json'] damaged (sha256 differs" in fault
    assert f"The champion is not served, {bundle.hash} stays: {fault}" in caplog.text
    for _ in range(200):
        service.live.poll_bundle()
        time.sleep(0.01)
    assert caplog.text.count("The champion is not served") == 1  # not tried again for nothing
    assert service.ask(user_id)["bundle"] == bundle.hash
    file.write_bytes(content)
    service.follow(second)
    assert service.application.bundle_faults == ()


def test_a_champion_that_is_gone_is_told_and_the_way_back_too(start, settings, var, bundle, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="perkwise")
    service = start(settings)
    (var / "champion").rename(tmp_path / "aside")
    service.poll_until(lambda: service.application.bundle_faults)
    assert "there is no champion at" in service.application.bundle_faults[0]
    (tmp_path / "aside").rename(var / "champion")
    service.poll_until(lambda: not service.application.bundle_faults)
    assert f"The champion is {bundle.hash} again, which is served." in caplog.text


def test_a_start_with_a_damaged_champion_takes_the_one_before(var, bundle, second, settings, data, caplog):
    install_champion(second.path, var)
    (var / "bundles" / second.hash / "uptake" / "uptake.json").unlink()
    config = ServeConfig(data, second.path.with_name("none"), var / "state.db", settings, champion=var)
    found, _ = read_first(config, lambda folder: (read_bundle(folder), None))
    assert found.hash == bundle.hash
    assert "The service starts with an earlier bundle: the bundle" in caplog.text


def test_a_start_without_any_bundle_says_which_it_looked_for_last(tmp_path, settings, data):
    config = ServeConfig(data, tmp_path / "none", tmp_path / "state.db", settings, champion=tmp_path)
    with pytest.raises(BundleError, match=f"there is no bundle at {tmp_path / 'none'}"):
        read_first(config, lambda folder: (read_bundle(folder), None))


def test_nobody_is_inside_while_the_door_is_closed():
    door, inside, n_calls, seen, is_over = Door(), [0], [0], [], threading.Event()

    async def call():
        while not is_over.is_set():
            async with door:
                inside[0] += 1
                n_calls[0] += 1
                await asyncio.sleep(0)
                inside[0] -= 1

    async def all_calls():
        await asyncio.gather(*(call() for _ in range(20)))

    thread = threading.Thread(target=lambda: asyncio.run(all_calls()), daemon=True)
    thread.start()
    for _ in range(20):
        n_before = n_calls[0]
        while n_calls[0] == n_before:
            assert thread.is_alive()
            time.sleep(0.001)
        with door.closed(60):
            seen.append(inside[0])
            time.sleep(0.002)
            seen.append(inside[0])
    is_over.set()
    thread.join(timeout=60)
    assert seen == [0] * 40 and inside[0] == 0


def test_who_stays_inside_keeps_the_door_open_in_the_end():
    door = Door()

    async def stay():
        async with door:
            with pytest.raises(TimeoutError, match=r"a request must end within 0.05 s"):
                await asyncio.to_thread(close)
        async with door:  # open again
            pass

    def close():
        with door.closed(0.05):
            pass

    asyncio.run(stay())
