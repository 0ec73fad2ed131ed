"""The simulated customers behind `features.world`: who they are, what they are shown, how they respond."""
