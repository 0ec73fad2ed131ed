"""Public data sets turned into data folders of the contract, one module a source."""
