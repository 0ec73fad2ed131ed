"""The data contract: its columns and rules, and the reading, parsing and checking that hold tables to it."""
