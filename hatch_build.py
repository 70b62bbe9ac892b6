"""Builds the browser bundle when it is missing; needs no Node where it is already there (sdist, wheel)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = Path("lmtt_widget") / "static" / "widget.js"


class BundleHook(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        root = Path(self.root)
        if version == "editable" or (root / BUNDLE).is_file():
            return
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(
                f"{BUNDLE.as_posix()} is missing and npm was not found to build it: "
                "install Node 20 or newer, or install lmtt-widget from a wheel or a released source archive"
            )
        subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=root, check=True)
        subprocess.run([npm, "run", "build"], cwd=root, check=True)
        if not (root / BUNDLE).is_file():
            raise RuntimeError(f"`npm run build` ended well but did not write {BUNDLE.as_posix()}")
