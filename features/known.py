"""What every feature is a function of: all that is known of some users, each at a moment of its own."""

from dataclasses import dataclass

from numpy.typing import NDArray

from features.asof import At, Floats, Ints

EVENT_KINDS = ("viewed", "clicked", "used")  # the names of the contract; every other name is OTHER
VIEWED, CLICKED, USED, OTHER = range(4)


@dataclass(frozen=True)
class Known:
    """n users at n moments; rows at the moment itself, or after it, are out of every feature's reach."""

    as_of_us: Ints  # (n,)
    joined_at_us: Ints  # (n,)
    attributes: Floats  # (n, n_attributes) numbers, or codes of categories; NaN unknown
    category_of: NDArray  # (n_services, n_categories) 1 where the service is of the category
    orders: At  # amount_cents, margin_cents, gap_minutes, gap_minutes_squared
    events: At  # by kind
    uses: At  # the events `used`, by service; value_thousandths
    offers: At  # services shown, by service
    takes: At  # uses within uptake_days after the service was shown, by service, at the time of use
    feedback: At  # nps
