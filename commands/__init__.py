"""The commands, a file for each idea; perkwise.py lists them in the order they run."""
