"""What every test stands on: no network, one model per session."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# Set before transformers is imported anywhere, so that a test which asks for the hub fails at once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest

if TYPE_CHECKING:
    from lmtt_widget import Model


@pytest.fixture(scope="session")
def bundled() -> Model:
    """The model that ships with the package."""
    import lmtt_widget

    return lmtt_widget.bundled_model()
