"""From profiles and exposures to a model bundle and a report."""
