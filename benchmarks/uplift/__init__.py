"""The uplift engine beside causalml, econml and scikit-uplift: same rows, same figures, one command."""
