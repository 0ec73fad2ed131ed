"""The report on a terminal: what policies and changes are worth, and what the gate compared."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.console import table_of
from offers.settings import Settings

if TYPE_CHECKING:
    from training.evaluation.figures import Evaluation
    from training.evaluation.list_value import Change
    from training.gate import Verdict


def report_lines(evaluation: "Evaluation", file: Path) -> Iterator[Any]:
    """The report on a terminal: the verdict, then what each policy is worth."""
    from training.evaluation.wording import POLICY_NAMES, REFUSAL, headline, with_bounds, without_uplift

    if evaluation.refusal:
        yield f"{REFUSAL} Were the propensities of the log true, this would be said:"
    yield headline(evaluation).text
    rows = []
    for name, figures in evaluation.policies.items():
        gain = "" if name == "perkwise" else with_bounds(evaluation.gains[name])
        share = (evaluation.oracle_share or {}).get(name)
        rows.append(
            [
                POLICY_NAMES[name],
                with_bounds(figures.doubly_robust),
                gain,
                f"{share:.0%}" if share is not None else "",
            ]
        )
    headings = ["policy", f"{evaluation.unit} an exposure", "Perkwise gains"]
    if evaluation.oracle_share:
        headings.append("of oracle")
    else:
        rows = [row[:-1] for row in rows]
    for suspicion in evaluation.notes.suspicions:
        yield f"Suspicious: {suspicion}"
    yield table_of(f"Doubly robust value on {evaluation.n_test:,} held-out exposures", headings, rows)
    if evaluation.notes.propensities == "estimated":
        yield "Propensities are estimated: what decided but stands in no profile biases every figure."
    for finding in evaluation.alerts:
        said = f"Alert    {finding.name}: {finding.text}"
        yield without_uplift(said) if evaluation.refusal else said
    yield f"Report   {file}"


def change_lines(change: "Change", settings: Settings) -> Iterator[Any]:
    """What a change of lists is worth, on a terminal."""
    from training.evaluation.wording import with_bounds

    names = {
        "exact": "exact (doubly robust)",
        "snips": "SNIPS",
        "ips": "IPS",
        "any_order": "if order does not matter",
        "by_service": "supposed, from single offers",
    }
    rows = [
        [name, *(with_bounds(getattr(figures, key)) for figures in (change.old, change.new, change))]
        for key, name in names.items()
    ]
    unit = settings.money.currency
    title = f"{unit} a decision on {change.n:,} held-out decisions; the lists differ on {change.n_differ:,}"
    yield table_of(title, ["estimator", "old", "new", "new - old"], rows)
    yield (
        f"Effective decisions: old {change.old.effective_n:,.0f}, new {change.new.effective_n:,.0f}; "
        f"services a decision: {change.old.length:.2f}, {change.new.length:.2f}."
    )


def verdict_lines(verdict: "Verdict", settings: Settings) -> Iterator[Any]:
    """What the gate compared, on a terminal; nothing where there was nothing to compare."""
    from training.evaluation.wording import POLICY_NAMES

    if not verdict.comparisons:
        return
    rows = [
        [
            POLICY_NAMES[one.rival],
            f"{one.value:.3g}",
            "" if one.low is None else f"{one.low:.3g}",
            "" if one.high is None else f"{one.high:.3g}",
            f"{one.n_differ / one.n:.0%}",
            "no end" if one.n_more is None else f"{one.n_more:,}",
        ]
        for one in verdict.comparisons
    ]
    unit, level = settings.money.currency, settings.training.interval_level
    n = verdict.comparisons[0].n
    yield table_of(
        f"{unit} an exposure, of {n:,} held out; {level:.0%} bounds that hold at every look",
        ["gain over", unit, "at least", "at most", "differ on", "missing"],
        rows,
    )
