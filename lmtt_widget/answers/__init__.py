"""What there is to say about a selection: every file of this folder is one kind of question, whole.

A kind is a module named after it. It has FIELDS (of its selections), PARTS (the kinds of parts it is about, if any),
Answer (a frozen dataclass) and answer(question); where there is more to it check(run, selection), follow_ups(run,
selection, answer), compare(question, answer, other) and updates(question) and nodes(question), what the answer
lists the tokens of: vectors, and nodes read by the lens. more(question) runs the next of the passes that its answer
is made of, and says whether there are others. Registered is what lies in this folder, and what `register`
is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from ..graph import Graph
from ..readings import Entered, Node, Readings
from ..run import Run
from .question import UPDATE_ROWS, Answered, Question, Selection, find_part

KINDS: dict[str, ModuleType] = {}


def register(module: ModuleType) -> None:
    """Makes a kind of question known by its module's name. Raises ValueError for a second one of that name."""
    name = module.__name__.rpartition(".")[2]
    if KINDS.get(name, module) is not module:
        raise ValueError(f"there is a kind of question {name!r} already")
    KINDS[name] = module


for _found in iter_modules(__path__):
    if _found.name != "question":
        register(import_module(f".{_found.name}", __name__))


def check(run: Run, selection: Any) -> Selection:
    """The selection as it was given, if it names something of this run; else ValueError in the reader's words."""
    kind = selection.get("kind") if isinstance(selection, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"a selection has one of the kinds {', '.join(KINDS)}, got {selection!r:.80}")
    module = KINDS[kind]
    needed = [f.name for f in module.FIELDS if not f.optional]
    for name in needed:
        if name not in selection:
            raise ValueError(f"a selection of kind {kind!r} needs {', '.join(needed)}; {name} is missing")
    known = ["kind", *(f.name for f in module.FIELDS)]
    for name in selection:
        if name not in known:
            raise ValueError(f"a selection of kind {kind!r} has the fields {', '.join(known)}, got {name!r:.40}")
    for field in module.FIELDS:
        field.check(run, selection)
    if _parts(module):
        find_part(run, selection, _parts(module))
    if hasattr(module, "check"):
        module.check(run, selection)
    return selection


def why_not(run: Run, selection: Any) -> str:
    """Why a run has no such selection, in words; empty if it has, or if nothing is selected."""
    try:
        if selection is not None:
            check(run, selection)
    except ValueError as e:
        return str(e)
    return ""


def beside(question: Selection, selection: Selection | None, pins: Sequence[Selection]) -> Selection | None:
    """What a question is compared with: the first pin with the selection, and the other way round."""
    if selection is None or not pins or pins[0] == selection:
        return None
    other = pins[0] if question == selection else selection if question == pins[0] else None
    return other if other is not None and other["kind"] == question["kind"] else None


def answer(
    run: Run,
    graph: Graph,
    selection: Selection,
    *,
    target: int = -1,
    token: int | None = None,
    foil: int | None = None,
    normalise: bool = True,
    beside: Answered | None = None,
    read: Readings | None = None,
) -> Answered:
    """Everything the panel shows of a selection. Token lists are `TokenList`, maps are tensors.

    target: the position whose predicted token signed direct effects are on; token: the id of another one that they
    are to be on; foil: a token id to contrast it with; normalise: the final norm is applied before a state is
    unembedded; beside: another answer to compare with, then every list has under "also" the rows that only the other
    one lists; read: what other answers read already. Raises
    ValueError for an unknown selection.
    """
    question = _question(run, graph, selection, read or Readings(run), target, token, foil, normalise)
    module = KINDS[selection["kind"]]
    found: Answered = module.answer(question)
    if beside is not None and beside.kind == found.kind and hasattr(module, "compare"):
        found = module.compare(question, found, beside)
    return found


def more(run: Run, graph: Graph, selection: Selection, *, read: Readings, **asked: Any) -> bool:
    """Runs some of the passes behind an answer that is found by and by; whether there are others.

    Arguments as of `answer`; raises what the passes raise. False for what is answered at once.
    """
    question = _question(run, graph, selection, read, **asked)
    return has_more(selection) and bool(KINDS[selection["kind"]].more(question))


def _question(
    run: Run, graph: Graph, selection: Selection, read: Readings, target: int = -1, token: int | None = None,
    foil: int | None = None, normalise: bool = True,
) -> Question:  # fmt: skip
    kinds = _parts(KINDS[check(run, selection)["kind"]])
    return Question(run, graph, selection, kinds, target, token, foil, normalise, read)


def has_more(selection: Selection | None) -> bool:
    """Whether its answer is found by and by."""
    return selection is not None and hasattr(KINDS[selection["kind"]], "more")


def expect(
    read: Readings, graph: Graph, selections: Sequence[Selection], *, normalise: bool, lens: bool = True
) -> None:
    """Reads together what the answers to several questions will list: the lens of nodes, the tokens of updates."""
    nodes: list[Node] = []
    updates: list[Entered] = []
    for selection in selections:
        module = KINDS[selection["kind"]]
        if hasattr(module, "updates") and not why_not(read.run, selection):
            question = Question(read.run, graph, selection, _parts(module), -1, None, None, normalise, read)
            updates += module.updates(question)
            nodes += module.nodes(question) if hasattr(module, "nodes") else []
    read.expect(nodes, updates, UPDATE_ROWS, normalise=normalise, lens=lens)


def follow_ups(run: Run, selection: Selection, answered: Answered) -> list[Selection]:
    """The selections a reader is likely to make next, most likely first."""
    module = KINDS[selection["kind"]]
    found: list[Selection] = module.follow_ups(run, selection, answered) if hasattr(module, "follow_ups") else []
    part = {"part": selection["part"]} if "part" in selection else {}  # as the browser asks
    return [{**question, **part} for question in found]


def _parts(module: ModuleType) -> tuple[str, ...]:
    return getattr(module, "PARTS", ())
