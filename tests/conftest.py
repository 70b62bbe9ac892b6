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
