"""Families of hostile models, each by several ways of writing the same trap."""

from . import control, edits, hidden, keys, memory, mixing, moods, opaque, outside, pretenders, shapes, sources  # noqa: F401
