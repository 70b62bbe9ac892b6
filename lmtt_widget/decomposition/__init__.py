"""Reads one forward pass as states and the parts that add up to them."""
