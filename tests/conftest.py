"""What every test stands on: no network, one model per session."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

# Set before transformers is imported anywhere, so that a test which asks for the hub fails at once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import tqdm  # noqa: F401  (reads whether it shall draw when it is first imported: before notebooks are run without bars)

# A shell without a terminal starts its background jobs deaf to Ctrl-C, which several tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmtt_widget import FlowWidget, Model

EVERY = 6  # case of what is sampled that is always tried


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="every case of every test, also of those that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is slow, and most cases of what is sampled, unless all is asked for."""
    if config.getoption("--all"):
        return
    seen: dict[str, int] = {}
    kept, left_out = [], []
    for item in items:
        test = item.nodeid.split("[")[0]
        nth = seen[test] = seen.get(test, -1) + 1
        is_left_out = "slow" in item.keywords or ("sampled" in item.keywords and nth % EVERY)
        (left_out if is_left_out else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


PROMPT = "the dog gave John a drink"  # of the widget below


@pytest.fixture(scope="session")
def bundled() -> Model:
    """The model that ships with the package."""
    import lmtt_widget

    return lmtt_widget.bundled_model()


@pytest.fixture
def widget(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlowWidget]:
    """Of the small random model with a tokenizer, shown by nothing."""
    import lmtt_widget
    from lmtt_widget import widget as module

    from . import text

    monkeypatch.setattr(module, "bundle", dict)
    shown = lmtt_widget.explore(text.model(), PROMPT)
    yield shown
    shown.close()
