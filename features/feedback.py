"""What a user answers when asked how likely a recommendation is (NPS, 0 to 10)."""

from numpy.typing import NDArray

from features.asof import ratio
from features.known import Known


def feedback_count(known: Known) -> NDArray:
    """Answers given."""
    return known.feedback.count()


def feedback_recency_days(known: Known) -> NDArray:
    """Days since the last answer."""
    return known.feedback.days_since_last()


def nps_last(known: Known) -> NDArray:
    """The last answer; of several at one time, the highest."""
    return known.feedback.last("nps")


def nps_mean(known: Known) -> NDArray:
    """Mean of all answers."""
    return ratio(known.feedback.sum("nps"), known.feedback.count())
