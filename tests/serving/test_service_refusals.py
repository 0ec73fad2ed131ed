"""Why services were not offered, as /metrics counts it: each kind where it must be."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from offers.calendar import DAY_US
from offers.catalog import Catalog
from offers.settings import parse_settings
from serving.application import Application
from serving.database import Database
from serving.routes import make_app
from tests.serving.conftest import Clock
from tests.serving.test_metrics import grown, samples

NAME = "perkwise_service_refusals_total"
N_SERVICES = 4
RULES = """
rules:
  - name: only gold
    services: [{0}, {1}]
    switchable: true
    enabled: false
  - name: closed
    services: [{1}, {2}]
    switchable: true
    enabled: false
"""


def over(settings, **sections):
    """These settings with tables or sections of them overridden, else without holdout and exploration."""
    quiet = {"exploration": {"holdout": 0.0, "explore": 0.0}, "pacing": {"most_of_revenue": 1.0}}
    parsed = parse_settings({"tiers": {"names": list(settings.tiers.names)}}, quiet, sections)
    return replace(settings, **{name: getattr(parsed, name) for name in {**quiet, **sections}})


def with_services(bundle, *changes):
    """The same models, with something else said of the first services."""
    changed = [replace(one, **change) for one, change in zip(bundle.catalog.services, changes)]
    return replace(bundle, catalog=Catalog.of([*changed, *bundle.catalog.services[len(changes) :]]))


@pytest.fixture
def clock(tables):
    """A day after the world's last order: users are in several tiers yet."""
    return Clock(int(tables.orders["ordered_at"].max().timestamp()) * 1_000_000 + DAY_US)


@pytest.fixture
def serve(tables, bundle, settings, clock, make_client, tmp_path):
    """A client of the service with another bundle, settings or rules."""
    database = Database(tmp_path / "state.db")

    def make(bundle=bundle, rules="", **sections):
        file = tmp_path / "rules.yaml"
        file.write_text(rules, encoding="utf-8")
        files = (file,) if rules else ()
        app = make_app()
        app.state.application = Application(
            tables, bundle, database, over(settings, **sections), clock, files
        )
        return make_client(app, raise_server_exceptions=False)

    yield make
    database.close()


@pytest.fixture
def users(tables):
    return tables.users["user_id"].astype(str).tolist()


def counted(client, requests):
    """What the counter grew by while these were answered together, by kind and rule."""
    before = samples()
    answered = client.post("/recommend_batch", json={"requests": requests}).json()["answers"]
    assert all("arm" in one for one in answered)
    labels = [dict(key[1:]) for key in samples() if key[0] == NAME]
    found = {(one["kind"], one["rule"]): grown(before, NAME, **one) for one in labels}
    return {key: n for key, n in found.items() if n}, answered


def asked(users, **more):
    return [{"user_id": one, "explain": True, **more} for one in users]


@pytest.mark.parametrize(
    "kind, change, more",
    [
        ("not_yet", {"active_from": datetime(2100, 1, 1, tzinfo=UTC)}, {}),
        ("ended", {"active_until": datetime(2001, 1, 1, tzinfo=UTC)}, {}),
        ("tier", {"tiers": ("no such",)}, {}),
        ("scenario", {"scenario": "travel"}, {"scenario": "home"}),
        ("capacity", {"capacity_per_day": 0}, {}),
    ],
)
def test_what_the_catalogue_refuses_is_counted_by_its_kind(serve, bundle, users, kind, change, more):
    client = serve(with_services(bundle, change, change))
    assert counted(client, asked(users[:7], **more))[0] == {(kind, ""): 14}
    assert counted(client, asked(users[:1], **more))[0] == {(kind, ""): 2}


def test_rules_are_counted_by_their_name_and_the_first_counts(serve, bundle, users):
    client = serve(rules=RULES.format(*bundle.catalog.ids))
    assert counted(client, asked(users[:5]))[0] == {("rule", "only gold"): 10, ("rule", "closed"): 5}
    late = with_services(bundle, {"active_from": datetime(2100, 1, 1, tzinfo=UTC)})
    client = serve(late, rules=RULES.format(*bundle.catalog.ids))
    expected = {("not_yet", ""): 1, ("rule", "only gold"): 1, ("rule", "closed"): 1}
    assert counted(client, asked(users[:1]))[0] == expected


def test_tracks_holdouts_and_budgets_are_counted(serve, bundle, settings, users):
    first, second, third, _ = bundle.catalog.ids
    tiers = list(settings.tiers.names)
    client = serve(
        tracks=[{"name": "all", "tiers": tiers, "services": [first]}],
        holdouts=[{"name": "no second", "share": 1.0, "service": second}],
        budgets=[{"name": "third", "contacts": 0.0, "service": third}],
    )
    assert counted(client, asked(users[:6]))[0] == {("holdout", ""): 6, ("budget", ""): 6}
    client = serve(tracks=[{"name": "one", "tiers": tiers[:1], "services": [first]}])
    found, answered = counted(client, asked(users[:60]))
    others = sum(any("of the track" in why["reason"] for why in one["why_not"]) for one in answered)
    assert 0 < others < 60
    assert found == {("track", ""): others}


def test_whoever_is_shown_nothing_for_comparison_is_refused_all_that_was_left(serve, bundle, users):
    client = serve(
        with_services(bundle, {"tiers": ("no such",)}), exploration={"holdout": 0.5, "explore": 0.0}
    )
    found, answered = counted(client, asked(users[:40]))
    n_held_out = sum(one["arm"] == "holdout" for one in answered)
    assert 0 < n_held_out < 40
    assert found == {("tier", ""): 40, ("holdout", ""): (N_SERVICES - 1) * n_held_out}


def test_a_service_without_a_sound_estimate_is_counted(serve, bundle, users):
    class Unsure(type(bundle)):
        def estimates(self, X, **more):
            found = super().estimates(X, **more)
            return replace(found, uplift_margin=found.uplift_margin * [np.nan, 1, 1, 1])

    unsure = Unsure(**{name: getattr(bundle, name) for name in bundle.__dataclass_fields__})
    assert counted(serve(unsure), asked(users[:9]))[0] == {("no_estimate", ""): 9}


def test_a_capacity_is_used_up_by_what_was_shown(serve, bundle, users):
    """Decisions one after the other count each what those before it left."""
    client = serve(with_services(bundle, *[{"capacity_per_day": 3}] * N_SERVICES))
    found, answered = counted(client, asked(users[:12]))
    refused = sum(len(one["why_not"]) for one in answered)
    assert refused > 0 and found == {("capacity", ""): refused}


def test_what_is_counted_is_what_the_answers_say(serve, bundle, users):
    """All at once: as many as there are reasons in the answers, and nothing for what may be offered."""
    soon = datetime.now(UTC) + timedelta(days=36500)
    client = serve(
        with_services(bundle, {"active_from": soon}, {"tiers": ("gold",)}, {"scenario": "travel"}),
        rules=RULES.format(*bundle.catalog.ids),
        exploration={"holdout": 0.0, "explore": 0.5},
    )
    found, answered = counted(client, [*asked(users[:20]), *asked(users[20:40], scenario="home")])
    assert sum(found.values()) == sum(len(one["why_not"]) for one in answered)
    assert found["not_yet", ""] == 40 and found["scenario", ""] == 20 and found["rule", "closed"] >= 20


def test_no_label_holds_a_user_or_a_service(serve, bundle, users):
    client = serve(rules=RULES.format(*bundle.catalog.ids))
    counted(client, asked(users[:20]))
    told = " ".join(line for line in client.get("/metrics").text.splitlines() if line.startswith(NAME))
    assert 'rule="only gold"' in told
    assert not any(f'"{one}"' in told for one in (*users, *bundle.catalog.ids))
