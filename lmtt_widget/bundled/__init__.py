"""Where the small models that ship with the package lie."""

from pathlib import Path

# For from_pretrained; loads nothing itself.
DIRECTORY = Path(__file__).parent / "model"  # the Llama of the toy grammar
STORIES = Path(__file__).parent / "stories"  # the GPT-2 of little stories
