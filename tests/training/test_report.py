"""The page: complete in itself, escaped, the same bytes, and honest about what is not known."""

import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from commands.report import report_lines
from offers.types import Service
from training.evaluation.bootstrap import Interval
from training.evaluation.checks import Finding
from training.evaluation.evaluate import evaluate
from training.evaluation.report import Scale, render
from training.evaluation.wording import headline, with_bounds
from training.suspicions.suspicion import Suspicion

NASTY = "<script>alert('x')</script>"
SERVICES = (
    Service("a", NASTY, unit_cost=1.0),
    Service("b", "会员专享生日礼盒 🎁 " + "w" * 80),
    Service("c&d", "Never shown"),
)


@pytest.fixture(scope="module")
def evaluation(make_log, notes):
    rng = np.random.default_rng(0)
    n = 1500
    arm = rng.choice([-2, -1, 0, 1], n)
    X = rng.normal(size=(n, 3))
    margin = 5 + 2.0 * (arm == 0) + rng.normal(size=n)
    log = make_log(arm, 0.25, margin, 1.0 * (arm == 0), rng.integers(0, 700, n), X, SERVICES)
    q = np.tile([5.0, 6.0, 5.0, 5.0], (n, 1))
    fixed = {"perkwise": 1, "best_constant": 2, "nothing": 0, "random": 2, "popularity": 1, "response": 2}
    return evaluate(
        log,
        policies={name: np.tile(np.eye(4)[column], (n, 1)) for name, column in fixed.items()},
        q=q,
        uplift=rng.normal(size=(n, 3)),
        uptake=np.tile([0.9, 0.1, 0.1], (n, 1)),
        eligible=np.ones((n, 3), bool),
        outcome="margin",
        unit="EUR",
        level=0.95,
        notes=notes,
        rng=np.random.default_rng(1),
        oracle_share={"perkwise": 0.97, "random": -0.1},
        n_replicates=100,
    )


@pytest.fixture(scope="module")
def page(evaluation):
    return render(evaluation)


class Elements(HTMLParser):
    """Tags with their attributes, and the tags that are still open."""

    VOID = frozenset(("meta", "link", "br", "img", "path", "use", "line", "circle", "hr", "input"))

    def __init__(self, page):
        super().__init__()
        self.found, self.open, self.crossed = [], [], []
        self.feed(page)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_page_is_well_formed(page):
    elements = Elements(page)
    assert page.startswith("<!DOCTYPE html>")
    assert elements.crossed == []
    assert elements.open == []


def test_the_page_loads_nothing(page):
    assert "http" not in page
    assert "@import" not in page
    for tag, attributes in Elements(page).found:
        assert tag not in ("link", "img", "iframe", "object", "image")
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_names_are_escaped(page):
    assert NASTY not in page
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "会员专享生日礼盒 🎁" in page


def test_a_cold_service_is_marked_and_the_word_explained(evaluation, page):
    assert "cold" not in text_of(page)
    first, *others = evaluation.services
    cold = replace(first, cold=True, learned=Interval(1.25, -0.5, 3.0))
    text = text_of(render(replace(evaluation, services=(cold, *others))))
    assert "cold : shown too seldom to the training contacts" in text and "fewer than 100 times" in text
    assert "1.2 −0.5 to 3.0" in text
    told = cold.to_json()
    assert told["cold"] is True and others[0].to_json()["cold"] is False
    learned = [told[f"uplift_learned{end}"] for end in ("", "_low", "_high")]
    assert learned == [1.25, -0.5, 3.0] and others[0].to_json()["uplift_learned"] is None


def test_the_page_says_how_many_lists_taught_the_models(evaluation, page):
    assert "Lists of several in the training contacts: 900, learned from: 860." in text_of(page)
    assert "nothing was learned from them" in text_of(page)
    every = replace(evaluation, notes=replace(evaluation.notes, n_lists_learned=900))
    assert "nothing was learned from them" not in text_of(render(every))


def test_no_id_stands_twice_and_every_reference_is_met(page):
    found = Elements(page).found
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert targets <= set(ids)


def test_every_picture_has_words(page):
    for tag, attributes in Elements(page).found:
        if tag == "svg" or attributes.get("role") == "img":
            decoration = attributes.get("aria-hidden") == "true" or "class" in attributes
            assert attributes.get("aria-label") or decoration
    assert "Qini curve of &lt;script&gt;" in page


def test_the_same_figures_give_the_same_bytes(evaluation, page):
    assert render(evaluation) == page


def test_the_verdict_stands_first_in_plain_words(evaluation, page):
    gain = evaluation.gains["best_constant"]
    assert gain.low > 0
    verdict = re.search(r'<p class="verdict good">([^<]*)</p>', page).group(1)
    assert re.fullmatch(
        r"Perkwise earns [\d.]+ EUR more per customer contact than the best single offer "
        r"\([\d.]+ to [\d.]+\)\.",
        verdict,
    )


def test_where_no_single_offer_pays_the_rival_is_to_offer_nothing(evaluation):
    text = text_of(render(replace(evaluation, best_constant=None)))
    assert "per customer contact than offering nothing to anybody" in text
    assert "the best single choice is to offer nothing" in text


@pytest.mark.parametrize(
    "gain, verdict",
    [
        (
            Interval(1, -1, 3),
            "Not enough data to say whether Perkwise beats the best single offer: about 4,500 more",
        ),
        (Interval(0, 0, 0), "Perkwise earns exactly what the best single offer earns: it chooses the same."),
        (
            Interval(-1, -2, -0.5),
            "Perkwise earns 1.00 EUR less per customer contact than the best single offer",
        ),
    ],
)
def test_a_verdict_claims_no_more_than_the_interval_carries(evaluation, gain, verdict):
    changed = replace(evaluation, gains={**evaluation.gains, "best_constant": gain})
    assert headline(changed).text.startswith(verdict)


def test_the_page_tells_how_the_data_were_treated(page):
    text = text_of(page)
    assert "at most 212.40 EUR, the 99.9 % quantile" in text
    assert "123 contacts were left out: outcome window not closed yet" in text
    assert "Propensities were logged by the system that showed the offers" in text
    assert "perkwise evaluate data --out report.html" in text
    assert "b" * 64 in text
    assert "d" * 64 in text


def test_the_whole_log_is_counted(page):
    assert "5 contacts with 5 customers" in text_of(page)
    assert "1970-01-01 00:00" in page


def test_the_share_of_the_oracle_is_shown_where_the_truth_is_known(evaluation, page):
    assert "97 %" in text_of(page)
    assert "−10 %" in text_of(page)
    assert "oracle" not in render(replace(evaluation, oracle_share=None))


def test_estimated_propensities_are_called_so(evaluation):
    estimated = replace(evaluation, notes=replace(evaluation.notes, propensities="estimated"))
    text = text_of(render(estimated))
    assert "Propensities are estimated : the log does not say how likely each offer was" in text
    assert "the log does not name them all, so they were learned" in text


REFUSAL = Finding(
    "predictability",
    "Offers predictable from the profile",
    "alert",
    "Who was shown what can be predicted, so this is no uplift.",
    n=1500,
    p=1e-9,
    refuses=True,
)


def test_a_log_whose_offers_can_be_predicted_gets_no_uplift_and_is_told_why(evaluation):
    services = (replace(evaluation.services[0], name="Uplift ring"), *evaluation.services[1:])
    refused = replace(evaluation, findings=(*evaluation.findings, REFUSAL), services=services)
    page = render(refused)
    assert text_of(page).lower().replace("uplift ring", "").count("uplift") == 0
    assert "Uplift ring" in page  # what people named themselves stays
    head = text_of(page[: page.index('<section id="policies">')])
    assert "This log does not tell what the offers brought" in head
    assert "Who was shown what can be predicted, so this is no difference." in head
    assert "Were the propensities of the log true, this would be said: Perkwise earns" in head
    assert "Offline uplift report" in text_of(render(evaluation))


def test_every_check_stands_in_the_page_and_alerts_at_its_head(evaluation, page):
    assert {finding.key for finding in evaluation.findings} == {
        "balance",
        "overlap",
        "placebo",
        "uplift_calibration",
    }
    assert all(html.escape(finding.text) in page for finding in evaluation.findings)
    alerted = replace(evaluation, findings=(*evaluation.findings, replace(REFUSAL, refuses=False)))
    text = text_of(render(alerted))
    assert f"{len(alerted.alerts)} of 5 checks of the log and the models raise" in text
    assert "offers predictable from the profile." in text


def test_the_overlap_is_drawn(evaluation, page):
    # Perkwise shows service a to all; each time the log did too, it had the same propensity.
    assert evaluation.policies["perkwise"].carried == pytest.approx(np.linspace(0, 1, 21), abs=0.01)
    assert 'aria-label="The heaviest tenth of the contacts that match carries 10 % of all weight"' in page


def test_where_the_log_never_did_what_perkwise_would_do_no_overlap_is_drawn(evaluation):
    apart = replace(evaluation.policies["perkwise"], matched=0.0)
    page = render(replace(evaluation, policies={**evaluation.policies, "perkwise": apart}))
    assert "The heaviest tenth" not in page


def test_the_calibration_of_uplift_stands_in_the_page(evaluation, page):
    assert "Does the predicted uplift come true?" in page
    assert "Predicted and realised uplift by tenth" in page


def test_without_a_cap_the_page_says_that_every_margin_counts(evaluation):
    uncapped = replace(evaluation, notes=replace(evaluation.notes, margin_cap_quantile=1.0, dropped={}))
    text = text_of(render(uncapped))
    assert "Every margin counts as it is" in text
    assert "No contact was left out" in text


def test_what_is_suspicious_is_named_with_its_remedy(evaluation, page):
    assert "looked for in the rows the models learned from, and not found" in page
    found = Suspicion("constant_attribute", f"users.{NASTY}", "1 value in 900 users")
    spoiled = replace(evaluation, notes=replace(evaluation.notes, suspicions=(found, found)))
    text = text_of(render(spoiled))
    assert "2 findings are hardly ever made of a sound log" in text
    assert "constant_attribute users.&lt;script&gt;" in text
    assert f"1 value in 900 users {found.means} {found.remedy}" in text
    lines = [line for line in report_lines(spoiled, Path("report.html")) if isinstance(line, str)]
    assert lines.count(f"Suspicious: {found}") == 2


def test_a_report_on_repurchase_speaks_of_no_money(evaluation):
    services = tuple(replace(service, net=None, roi=None) for service in evaluation.services)
    text = text_of(
        render(replace(evaluation, outcome="repurchase", unit="repurchases", services=services, findings=()))
    )
    assert "Perkwise wins" in text
    assert "more repurchases per customer contact" in text
    assert "EUR" not in text
    assert "ROI" not in text.replace("Return on cost", "")


def test_the_page_says_what_a_budget_buys(evaluation, page):
    added = Interval(0.5, 0.25, 0.75)
    text = text_of(render(replace(evaluation, costs=replace(evaluation.costs, added=added, worthwhile=0.2))))
    assert "Choosing whom to offer what makes more of the same budget." in text
    assert "on average +0.50 EUR a contact (0.25 to 0.75) more" in text
    assert "Beyond 0.20 EUR a contact" in text
    assert "Sverdrup" in text_of(page)


def test_where_nothing_gains_the_page_has_no_budget(evaluation):
    page = render(replace(evaluation, costs=None))
    assert "budget" not in text_of(page)
    assert 'href="#budget"' not in page


def test_switch_and_dros_stand_beside_the_three_estimators(evaluation):
    ours = replace(evaluation.policies["perkwise"], threshold=12.0, strength=np.inf)
    text = text_of(render(replace(evaluation, policies={**evaluation.policies, "perkwise": ours})))
    rows = text[text.index("Two more estimators") :]
    assert re.search(r"Perkwise \S+ \S+ to \S+ \S+ \S+ to \S+ 12 \S+ \S+ to \S+ none", rows)


def test_a_service_shows_its_uplift_at_the_top_and_its_autoc(evaluation, page):
    text = text_of(page)
    service = max((s for s in evaluation.services if s.net), key=lambda s: s.net.value)
    assert f"Uplift of the 30 % ranked highest {with_bounds(service.uplift_at_top)}" in text
    assert f"AUTOC, EUR {with_bounds(service.autoc)}" in text


def test_a_service_never_shown_asks_for_exposures(page):
    assert "not enough data, at least 30 more exposures needed before anything can be estimated" in page


def test_a_scale_holds_every_number_between_its_ends():
    scale = Scale.around([Interval(0.5, -0.25, 1.0), Interval(float("nan"), float("nan"), float("nan"))])
    assert (scale.low, scale.high) == (-0.25, 1.0)
    assert scale.at(-0.25) == "2.00%"
    assert scale.at(1.0) == "98.00%"
    assert [scale.label(tick) for tick in scale.ticks] == ["0.0", "0.4", "0.8"]


def test_a_scale_of_nothing_but_zeros_can_still_be_drawn():
    assert Scale.around([Interval(0, 0, 0)]).at(0) == "2.00%"
