"""A toy encoding: lines pass by their flow, and all of them are drawn alike."""

from __future__ import annotations

from lmtt_widget.encodings import Encoding

EVEN = Encoding("even", lambda lines: lines.flow)
