"""Families of hostile models, each by several ways of writing the same trap."""

import importlib

for _name in (
    "control", "memory", "opaque", "mixing", "hidden", "evading", "outside", "keys", "edits", "pretenders", "sources",
    "moods", "again", "shapes", "words", "unusual", "several", "rows", "scripted", "unheard", "calls", "ahead",
):  # fmt: skip
    importlib.import_module(f".{_name}", __name__)
