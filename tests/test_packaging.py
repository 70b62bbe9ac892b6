"""What is shipped: a wheel and a source archive that install and work without Node."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive of a clean clone: of what git has and nothing else."""
    if not (ROOT / "node_modules").is_dir():
        pytest.fail("node_modules is missing: npm ci", pytrace=False)
    clone, folder = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("dist")
    command = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.check_output(["git", "-c", "safe.directory=*", *command], cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    (clone / "node_modules").symlink_to((ROOT / "node_modules").resolve())  # for npm ci, which would need a network
    _run("npm", "run", "build", cwd=clone)
    (clone / "node_modules").unlink()
    _run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", "--outdir", folder, clone)
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
    assert {"config.json", "model.safetensors", "tokenizer.json", "CARD.md"} <= model
    # How it was trained is told in the repository: nobody who installs the package runs it.
    assert {n for n in names if n.startswith("lmtt_widget/bundled/") and n.endswith(".py")} == {
        "lmtt_widget/bundled/__init__.py"
    }


def test_the_wheel_carries_nothing_but_the_package(wheel: zipfile.ZipFile) -> None:
    roots = {name.split("/")[0] for name in wheel.namelist()}
    assert roots == {"lmtt_widget", f"lmtt_widget-{_version()}.dist-info"}
    assert not [name for name in wheel.namelist() if name.endswith(".map")]


def test_the_wheel_is_smaller_than_six_megabytes(wheel: zipfile.ZipFile) -> None:
    assert Path(wheel.filename or "").stat().st_size < 6 * MEGABYTE


def test_every_script_keeps_its_budget(wheel: zipfile.ZipFile) -> None:
    """Every widget of a saved notebook carries a copy."""
    for name in ("widget", "page", "figure"):
        code = wheel.read(f"lmtt_widget/static/{name}.js")
        assert len(code) <= 200_000, name
        assert len(gzip.compress(code)) <= 72_000, name


def test_the_version_is_the_same_everywhere(wheel: zipfile.ZipFile) -> None:
    import lmtt_widget

    metadata = wheel.read(f"lmtt_widget-{_version()}.dist-info/METADATA").decode()
    assert f"\nVersion: {_version()}\n" in metadata
    assert lmtt_widget.__version__ == _version()


def test_a_browser_is_asked_for_no_torch(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read(f"lmtt_widget-{_version()}.dist-info/METADATA").decode()
    needed = [
        Requirement(line.removeprefix("Requires-Dist: ")) for line in metadata.splitlines() if "Requires-Dist" in line
    ]
    for platform in ("emscripten", "linux"):
        asked = {
            r.name for r in needed if r.marker is None or r.marker.evaluate({"sys_platform": platform, "extra": ""})
        }
        assert {"anywidget", "ipywidgets", "numpy", "traitlets"} == asked - {"torch", "transformers"}
        assert ({"torch", "transformers"} <= asked) == (platform != "emscripten")


def test_the_source_archive_carries_the_bundle_and_its_sources(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"lmtt_widget/static/widget.js", "js/src/index.ts", "package-lock.json", "LICENSE", "README.md"} <= names
    assert not [
        name for name in names if name.startswith((".venv", "node_modules", "shots", ".demo")) or name.endswith(".map")
    ]


def test_the_release_looks_for_the_bundle(built: Path, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))["jobs"]
    (script,) = [step["run"] for step in jobs["build"]["steps"] if step.get("name") == "bundle"]
    (tmp_path / "dist").mkdir()
    for file in built.iterdir():
        shutil.copy(file, tmp_path / "dist")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    _run("bash", "-e", "-c", script, cwd=tmp_path, env=environment)
    with zipfile.ZipFile(tmp_path / "dist" / Path(wheel.filename or "").name, "w") as without:
        for name in wheel.namelist():
            if not name.endswith("static/widget.js"):
                without.writestr(name, wheel.read(name))
    with pytest.raises(subprocess.CalledProcessError) as failed:
        _run("bash", "-e", "-c", script, cwd=tmp_path, env=environment)
    assert "wheel.txt has no widget.js" in failed.value.output


# As a reader has it: the packages it stands on, no Node, and none of this checkout.
EXPLORE = """
import json, shutil, zlib, lmtt_widget as lmtt
widget = lmtt.explore(lmtt.bundled_model(), "When Mary and John went to the store, John gave a drink to")
print(json.dumps({
    "file": lmtt.__file__,
    "version": lmtt.__version__,
    "node": shutil.which("node"),
    "tokens": widget.run.n_tokens,
    "views": sorted(widget._repr_mimebundle_()[0]),
    "script": len(zlib.decompress(widget._code)),
    "page": str(lmtt.save_html(widget, "page.html", include="nothing")),
}))
"""


def test_the_wheel_makes_the_widget_in_a_fresh_environment_without_node(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    environment = tmp_path / "fresh"
    _run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    options = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    _run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel.filename or "")
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "what-it-stands-on.pth").write_text(sysconfig.get_path("purelib"))  # torch is large to install again
    (tmp_path / "empty").mkdir()
    done = _run(python, "-I", "-c", EXPLORE, cwd=tmp_path, env={"PATH": str(tmp_path / "empty"), "HOME": str(tmp_path)})
    told = json.loads(done.splitlines()[-1])
    assert Path(told["file"]).is_relative_to(site)
    assert told["version"] == _version()
    assert told["node"] is None
    assert told["tokens"] == 14
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(told["views"])
    assert told["script"] == wheel.getinfo("lmtt_widget/static/widget.js").file_size
    assert (tmp_path / told["page"]).stat().st_size > told["script"]


def test_the_source_archive_installs_the_same_without_npm(sdist: Path, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    _install(sdist, tmp_path / "site", tmp_path / "empty")
    for name in wheel.namelist():
        if name.startswith("lmtt_widget/"):
            assert (tmp_path / "site" / name).read_bytes() == wheel.read(name), name


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


def _run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path = ROOT) -> str:
    return subprocess.run(
        list(map(str, command)),
        check=True,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ).stdout


def _version() -> str:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("version = ")]
    return line.split('"')[1]
