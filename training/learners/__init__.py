"""The effect learners: each learns, alone, how far a user's uplift lies from the service's average."""
