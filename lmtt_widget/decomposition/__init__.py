"""Reads one forward pass as states and the parts that add up to them."""

from . import rules as rules  # registers how each call is read: a walk without its rules would end everywhere
