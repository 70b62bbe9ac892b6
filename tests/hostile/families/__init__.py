"""Families of hostile models, each by several ways of writing the same trap."""

from . import control, memory, mixing  # noqa: F401
