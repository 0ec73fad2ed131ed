"""A named warning: what was found, what it means, what to do."""

from dataclasses import asdict, dataclass, field

# What each finding means, and what to do about it. The names stand in answers, run tags and reports.
ADVICE = {
    "constant_attribute": (
        "Every user has the same value, so it can teach nothing.",
        "Leave the column out of users, or mend the export.",
    ),
    "empty_attribute": (
        "No user has a value, so it can teach nothing.",
        "Leave the column out of users, or mend the export.",
    ),
    "identifier_attribute": (
        "It names users rather than describes them: models learn who ordered, not what such users do.",
        "Leave the column out of users.",
    ),
    "outcome_in_profile": (
        "It tells the outcome better than the same users' own past does, so it was most likely filled in "
        "after the outcome: the report will promise what serving cannot keep.",
        "Leave the column out, or export what was known before each exposure.",
    ),
    "offer_in_profile": (
        "It tells which service was shown, beyond what the propensities say: it was filled in after the "
        "decision, or it made the decision and the propensities do not know it.",
        "Leave the column out, or log the propensities that the decision was drawn with.",
    ),
    "one_class_service": (
        "A service that all or none of those offered use is most likely joined to the wrong events.",
        "Compare the service_id of exposures with that of the events `used`.",
    ),
    "uptake_inverted": (
        "Those who come close to a use are the ones counted as not using: used and unused are most likely "
        "exchanged.",
        "Check how the events `used` are written.",
    ),
    "repurchase_inverted": (
        "Those who ordered most are the ones who order least: ordered and not ordered are most likely "
        "exchanged, or the user ids of orders are another system's.",
        "Check how orders is written.",
    ),
    "holdout_like_offered": (
        "Uses are as frequent where nothing was shown as where the service was: the holdout was shown it "
        "too, user ids of exposures and events do not belong together, or offers change nothing.",
        "Check that the holdout is withheld, and the user_id of both tables.",
    ),
    "outcome_gap": (
        "The table holds almost nothing for a part of the log, and every exposure of that time counts as "
        "without effect.",
        "Export the table whole, or set windows.complete_until to where it ends.",
    ),
    "use_before_offer": (
        "Services are used just before they are shown: exposures are logged after the outcome, or one of the "
        "two clocks is off.",
        "Log shown_at at the moment of showing, in UTC, and check the zone of the events.",
    ),
    "order_before_choice": (
        "Who was shown something differs from who was not by an order just before: the choice was made, or "
        "logged, after the outcome.",
        "Log shown_at at the moment of showing, and draw the holdout before anything is known.",
    ),
    "propensity_level": (
        "The logged propensities do not fit how often it was shown: they are those of something else, or "
        "rows are missing.",
        "Log the probability with which each decision was drawn, and every decision.",
    ),
    "propensity_sum": (
        "The probabilities of all that may be shown must sum to 1.",
        "Log the probability with which each decision was drawn.",
    ),
    "rows_quarantined": (
        "Models learn from what is left, which is no longer the log as it happened.",
        "Mend the rows: the folder's quarantine/ names each with its remedy.",
    ),
    "duplicated_exposures": (
        "The same decision counts several times, and every interval comes out too narrow.",
        "Export each slate once, under one slate_id.",
    ),
    "duplicated_users": (
        "The same person stands there under several ids, and may teach and judge the models at once.",
        "Give each person one user_id.",
    ),
    "dominant_user": (
        "What is learned is this one user.",
        "Leave out test accounts and robots, and check the user_id of those not signed in.",
    ),
    "busy_user": (
        "So much is a robot, a test account or a shared id rather than a customer.",
        "Leave it out, and check the user_id of those not signed in.",
    ),
    "tables_unrelated": (
        "Who comes more often orders more often, in every shop: the user ids of the two tables are most "
        "likely those of two systems.",
        "Compare the user_id of both tables.",
    ),
    "unit_change": (
        "Small and large orders change by one factor at one time: the unit or the currency changed.",
        "Convert the table to one unit.",
    ),
    "margin_above_amount": (
        "A margin cannot exceed what was paid: it is most likely in cents, or the two are exchanged.",
        "Write both in currency units.",
    ),
    "clock_shift": (
        "The hours of the day moved together: the time zone of the table changed.",
        "Write every time in UTC or with its offset.",
    ),
}


@dataclass(frozen=True)
class Suspicion:
    """One finding; the training goes on, and whoever reads its answer must judge it.

    Examples
    --------
    >>> print(Suspicion("constant_attribute", "users.country", "1 value in 900 users"))
    constant_attribute, users.country: 1 value in 900 users. Every user has the same value, so it can \
teach nothing. Leave the column out of users, or mend the export.
    """

    name: str
    where: str  # the table, column or service
    found: str  # the figures
    means: str = field(init=False)
    remedy: str = field(init=False)

    def __post_init__(self) -> None:
        means, remedy = ADVICE[self.name]
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "remedy", remedy)

    def __str__(self) -> str:
        return f"{self.name}, {self.where}: {self.found}. {self.means} {self.remedy}"

    def to_json(self) -> dict[str, str]:
        return asdict(self)
