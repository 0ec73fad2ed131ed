"""What may be offered to whom: plain types and pure rules, no I/O, numpy at the most."""
