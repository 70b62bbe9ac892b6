"""A toy rule: how a call that no model here makes, `deg2rad`, is read in a residual stream."""

from __future__ import annotations

import math

from lmtt_widget.decomposition.nodes import Node
from lmtt_widget.decomposition.residual import Walk, rule
from lmtt_widget.decomposition.terms import Term


def register() -> None:
    @rule("deg2rad")
    def _radians(walk: Walk, n: Node) -> list[Term] | None:
        terms = walk.signal(n.args[0])
        return None if terms is None else walk.scaled(terms, math.pi / 180, n.shape)
