"""What is shipped: a wheel and a source archive that install and work without Node."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive of this checkout."""
    if not (ROOT / "lmtt_widget" / "static" / "widget.js").is_file():
        pytest.fail("lmtt_widget/static/widget.js is missing: npm ci && npm run build", pytrace=False)
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def sdist(built: Path) -> Path:
    (path,) = built.glob("*.tar.gz")
    return path


def test_the_wheel_carries_the_bundle_the_model_and_the_types(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    static = {f"lmtt_widget/static/{name}.js" for name in ("widget", "page", "figure")}
    assert static | {"lmtt_widget/py.typed", "lmtt_widget/__init__.py"} <= names
    model = {Path(name).name for name in names if name.startswith("lmtt_widget/bundled/model/")}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= model


def test_the_wheel_carries_nothing_but_the_package(wheel: zipfile.ZipFile) -> None:
    roots = {name.split("/")[0] for name in wheel.namelist()}
    assert roots == {"lmtt_widget", f"lmtt_widget-{_version()}.dist-info"}
    assert not [name for name in wheel.namelist() if name.endswith(".map")]


def test_the_wheel_is_smaller_than_six_megabytes(wheel: zipfile.ZipFile) -> None:
    assert Path(wheel.filename or "").stat().st_size < 6 * MEGABYTE


def test_the_version_is_the_same_everywhere(wheel: zipfile.ZipFile) -> None:
    import lmtt_widget

    metadata = wheel.read(f"lmtt_widget-{_version()}.dist-info/METADATA").decode()
    assert f"\nVersion: {_version()}\n" in metadata
    assert lmtt_widget.__version__ == _version()


def test_the_source_archive_carries_the_bundle_and_its_sources(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"lmtt_widget/static/widget.js", "js/src/index.ts", "package-lock.json", "LICENSE", "README.md"} <= names
    assert not [name for name in names if name.startswith((".venv", "node_modules", "shots", ".demo"))]


def test_the_source_archive_installs_without_npm(sdist: Path, tmp_path: Path) -> None:
    _install(sdist, tmp_path / "site", tmp_path / "empty")
    assert (tmp_path / "site" / "lmtt_widget" / "static" / "widget.js").is_file()


def test_without_bundle_and_npm_the_build_says_what_to_install(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    (source / "lmtt_widget" / "static" / "widget.js").unlink()
    with pytest.raises(subprocess.CalledProcessError) as failed:
        _install(source, tmp_path / "site", tmp_path / "empty")
    assert "lmtt_widget/static/widget.js is missing and npm was not found" in failed.value.output


def _install(source: Path, target: Path, path: Path) -> None:
    path.mkdir()
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", target]
    _run(sys.executable, "-m", "pip", "install", *options, source, env={**os.environ, "PATH": str(path)})


def _run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    subprocess.run(
        list(map(str, command)),
        check=True,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _version() -> str:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("version = ")]
    return line.split('"')[1]
