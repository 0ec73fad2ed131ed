"""From a bundle and profiles to a ranked top-N over HTTP."""
