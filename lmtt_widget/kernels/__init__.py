"""How near the vectors of an attention write are to the whole, for all targets at once."""
