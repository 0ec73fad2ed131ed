"""Every learner of the comparison, by library: a function that fits a task and returns how to predict."""
