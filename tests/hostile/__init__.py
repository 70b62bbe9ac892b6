"""Small decoders written to be read wrongly, and a judge of what is read that never asks the package."""
