"""What a policy was worth on held-out exposures: curves, policy values, intervals, the report."""
