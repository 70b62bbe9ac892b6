"""The package is built as its plan says: imports point down the flow, and importing it is quick."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "lmtt_widget"
FILES = sorted(p for p in ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


# A file imports only from files above it.
ROOMS = [
    (
        "decomposition.ops",
        "decomposition.aliases",
        "decomposition.paths",
        "decomposition.rounding",
        "decomposition.modules",
    ),
    "decomposition.nodes",
    ("decomposition.calls", "decomposition.told"),
    ("decomposition.tape", "decomposition.streams", "decomposition.below"),
    ("decomposition.alone", "decomposition.einsums", "decomposition.freivalds", "decomposition.plans"),
    "decomposition.products",
    "decomposition.linear",
    ("decomposition.mixing", "decomposition.terms"),
    ("decomposition.residual", "decomposition.followed"),
    ("decomposition.rules", "decomposition.row_rules"),
    ("decomposition.heads", "decomposition.readout"),
    "decomposition.writes",
    ("decomposition.restored", "decomposition.mapped", "decomposition.alike"),
    "decomposition.later",
    "decomposition.read_leaf",
    ("decomposition.stacks", "decomposition.read_layer", "decomposition.forward", "decomposition.hooks"),
    "decomposition.layers",
    "decomposition.heard",
    "decomposition.frozen",
    "decomposition.asked",
    "decomposition.vectors",
    "kernels.threads",
    "kernels.tiles",
    "kernels.in_torch",
    ("kernels.in_numba", "kernels.compiled"),
    "kernels.sums",
    "kernels.alike",
    ("earlier", "given"),
    "progress",
    "memory",
    "tokens",
    "graph",
    "encodings",
    "routes",
    "difference",
    "circuit",
    "bundled",
    "prompts",
    "model",
    ("fidelity", "parts", "fingerprint", "explained"),
    "interventions",
    "edited",
    "labels",
    "moved",
    "probe",
    "known_labels",
    "run",
    ("facts", "shares"),
    "contributions",
    "inside",
    "lens",
    "attribution",
    "direct",
    ("by_word", "gated", "fitted"),
    "pieces",
    "report",
    ("rest", "estimates"),
    "verdicts",
    "faithful",
    ("surveys.roles", "surveys.statistics", "surveys.store", "surveys.cases"),
    "surveys.scores",
    ("surveys.rows", "surveys.neurons"),
    "surveys.chunks",
    ("reasons", "contrasts", "generation", "contexts"),
    "survey",
    ("patterns", "readings"),
    "tried",
    "answers.question",
    "answers.*",
    "answers",
    "session",
    "wire",
    "valid",
    "saved",
    "page",
    "figures",
    "state",
    "card",
    "included",
    "shown",
    "widget",
    "export",
    ("surveys.shown", "surveys.found"),
    "surveys.survey",
    "surveys.making",
]
FLOOR = {name: i for i, room in enumerate(ROOMS) for name in ([room] if isinstance(room, str) else room)}
for path in sorted((ROOT / "answers").glob("*.py")):  # a kind of question is in the house by lying in its folder
    FLOOR.setdefault(name_of(path), FLOOR["answers.*"])
UI = {"anywidget", "ipywidgets", "traitlets", "IPython", "ipykernel", "marimo"}


def imports(path: Path) -> set[str]:
    """The modules a file imports, those of the package by their name in it; also inside functions."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            base = [part for part in base if part]
            found |= {"." + ".".join(base)} if node.module else {"." + ".".join([*base, a.name]) for a in node.names}
    return found


def rooms_of(path: Path) -> set[str]:
    return {name.removeprefix(".") for name in imports(path) if name.startswith(".")}


@pytest.mark.parametrize("path", [p for p in FILES if name_of(p) in FLOOR], ids=name_of)
def test_a_file_imports_only_from_files_above_it(path: Path) -> None:
    here = FLOOR[name_of(path)]
    for room in rooms_of(path):
        floor = FLOOR.get(room, FLOOR.get(room.split(".")[0]))
        assert floor is not None, f"{room} is in no room of the house"
        assert floor < here, f"{name_of(path)} imports {room}"


def test_every_file_has_its_room() -> None:
    others = {name_of(p) for p in FILES} - set(FLOOR)
    assert {name for name in others if not name.startswith("bundled")} == {
        "__init__",
        "decomposition",
        "kernels",
        "surveys",
    }


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_interface_is_imported_above_the_widget(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    if name_of(path) not in ("shown", "widget", "export", "surveys.shown"):
        assert not roots & UI


def test_only_state_knows_the_wire() -> None:
    """Arrays become bytes in one place, and bytes are read in two."""
    for path in FILES:
        if name_of(path) not in ("wire", "valid", "saved", "state") and not name_of(path).startswith("bundled"):
            assert ".tobytes()" not in path.read_text("utf-8"), name_of(path)
            assert ".wire" not in imports(path), name_of(path)


TORCH_FREE = (
    "earlier",
    "given",
    "progress",
    "tokens",
    "graph",
    "encodings",
    "routes",
    "difference",
    "wire",
    "valid",
    "saved",
    "page",
    "figures",
    "state",
    "surveys.roles",
    "surveys.statistics",
    "surveys.store",
    "surveys.cases",
    "surveys.scores",
)


def test_everything_shown_of_a_graph_needs_no_torch_and_no_model() -> None:
    for path in FILES:
        if name_of(path) in TORCH_FREE:
            assert not {name.split(".")[0] for name in imports(path)} & {"torch", "transformers"}, name_of(path)
            assert rooms_of(path) <= set(TORCH_FREE), name_of(path)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_first_line_of_a_file_is_a_sentence(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert doc
    first = doc.split("\n")[0]
    assert path.read_text("utf-8").startswith(f'"""{first}')
    assert first[0].isupper()
    assert first[-1] in ".?"
    assert len(first.split()) > 3


def test_what_the_package_exports_says_what_it_is() -> None:
    code = (
        "import lmtt_widget as l;"
        "docs = {n: (getattr(l, n).__doc__ or '').split(chr(10))[0] for n in l.__all__};"
        "print([n for n, d in docs.items() if not d.endswith('.') or d.startswith(n + '(')])"
    )
    assert run_python(code) == "[]\n"


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, cwd=ROOT.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "anywidget", "traitlets", "numpy", "tokenizers", "IPython"]
    assert run_python(f"import sys, lmtt_widget; print([m for m in {heavy} if m in sys.modules])") == "[]\n"


def test_every_public_name_is_there_and_listed() -> None:
    code = (
        "import lmtt_widget as l;"
        "assert l.__all__ == sorted(l.__all__, key=lambda n: (n[0].islower(), n)), l.__all__;"
        "assert set(l.__all__) == set(l._MODULE);"
        "assert set(l.__all__) <= set(dir(l));"
        "print([n for n in l.__all__ if getattr(l, n) is None], l.__version__)"
    )
    assert run_python(code).startswith("[] ")


def test_no_file_has_the_name_of_a_public_function() -> None:
    """Once it is imported, the package's attribute of that name is the file."""
    code = f"import lmtt_widget as l; print(sorted(set(l.__all__) & { ({p.stem for p in ROOT.glob('*.py')})!r}))"
    assert run_python(code) == "[]\n", "give the file another name"


def test_an_unknown_name_is_an_attribute_error() -> None:
    code = "import lmtt_widget\ntry: lmtt_widget.nothing\nexcept AttributeError as e: print(e)"
    assert run_python(code) == "module 'lmtt_widget' has no attribute 'nothing'\n"


def test_analysis_needs_no_widget() -> None:
    code = (
        "import sys, lmtt_widget as l; l.record, l.attribute, l.trace, l.logit_lens, l.load_model;"
        "print([m for m in ('anywidget', 'traitlets', 'ipywidgets') if m in sys.modules])"
    )
    assert run_python(code) == "[]\n"
