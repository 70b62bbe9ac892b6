"""Reads one forward pass as states and the parts that add up to them."""

# Registers how each call is read: a walk without its rules would end everywhere.
from . import row_rules as row_rules
from . import rules as rules
