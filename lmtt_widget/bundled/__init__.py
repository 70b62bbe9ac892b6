"""Where the small model that ships with the package lies."""

from pathlib import Path

DIRECTORY = Path(__file__).parent / "model"  # for from_pretrained; loads nothing itself
