"""Where the rows of a survey lie: Parquet files that are named by what is in them and appear whole or not at all.

Knows nothing of torch, models or statistics. A folder has `survey.json`, which says of what it is, and for each chunk
of prompts one file a table: prompts-000003-8f14e45fceea167a.parquet is chunk 3, and the rest of its name a hash of
the model, the options and the prompts in it. So a chunk that is there need not be made again, and a chunk that two
workers make is one file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..given import told

VERSION = 1  # of the rows; another one is another survey
FACTS = "survey.json"
_NAME = re.compile(r"(prompts|tokens|neurons)-(\d{6,})-([0-9a-f]{16})\.parquet")
_NEEDED = 'a survey needs {} : pip install "lmtt-widget[survey]"'


def needed(name: str) -> Any:
    """A package of the extra. Raises ModuleNotFoundError with what to install."""
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(_NEEDED.format(name), name=e.name) from None


class Folder:
    """A folder on this machine, or one that fsspec knows (s3://..., gs://..., memory://...)."""

    def __init__(self, at: str | os.PathLike[str]) -> None:
        if not isinstance(at, (str, os.PathLike)):
            raise TypeError(f"folder must be a path, as text or as a Path, got {told(at)}")
        self.at, self.fs = os.fspath(at), None
        if "://" in self.at:
            self.fs, self.root = needed("fsspec.core").url_to_fs(self.at)
        else:
            self.root = str(Path(self.at).expanduser().absolute())

    def names(self) -> list[str]:
        """Of all files in it, in order; none where there is no folder."""
        if self.fs is None:
            return sorted(os.listdir(self.root)) if os.path.isdir(self.root) else []
        self.fs.invalidate_cache()
        found = self.fs.ls(self.root, detail=False) if self.fs.exists(self.root) else []
        return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes:
        if self.fs is not None:
            return bytes(self.fs.cat_file(self.path(name)))
        return Path(self.root, name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """The whole file or none: written beside and renamed; object stores have no other way."""
        if self.fs is not None:
            self.fs.makedirs(self.root, exist_ok=True)
            self.fs.pipe_file(self.path(name), data)
            return
        os.makedirs(self.root, exist_ok=True)
        beside = Path(self.root, f".{name}.{secrets.token_hex(4)}")
        try:
            with beside.open("wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.replace(beside, Path(self.root, name))
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def tidy(self) -> None:
        """Removes what writers that were killed left beside."""
        if self.fs is None:
            for name in self.names():
                if name.startswith(".") and _NAME.match(name[1:]):
                    Path(self.root, name).unlink(missing_ok=True)


def chunk_name(table: str, number: int, mark: str, prompts: Sequence[Any]) -> str:
    """Of the file with the rows of some prompts."""
    said = json.dumps([mark, prompts], sort_keys=True, ensure_ascii=True)
    return f"{table}-{number:06}-{hashlib.blake2b(said.encode(), digest_size=8).hexdigest()}.parquet"


def chunks_in(names: Iterable[str], table: str = "prompts") -> dict[int, str]:
    """The files of a table by the numbers of their chunks.

    Raises ValueError for a foreign Parquet file, and for two files of one chunk.
    """
    found: dict[int, str] = {}
    for name in names:
        if not name.endswith(".parquet") or name.startswith("."):
            continue
        known = _NAME.fullmatch(name)
        if known is None:
            raise ValueError(f"the folder has a file that is not of this survey: {name}; move it elsewhere")
        if known[1] == table:
            if int(known[2]) in found:
                both = f"{found[int(known[2])]} and {name}"
                raise ValueError(f"the folder has two files of one chunk, {both}; a survey of other prompts lies in it")
            found[int(known[2])] = name
    return found


def parquet(columns: dict[str, Any]) -> bytes:
    """Columns as the bytes of a Parquet file; an array [row, n] is a list of n numbers in each row."""
    pa, pq = needed("pyarrow"), needed("pyarrow.parquet")
    made = {}
    for name, column in columns.items():
        if isinstance(column, np.ndarray) and column.ndim == 2:
            made[name] = pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), column.shape[1])
        else:
            made[name] = column if isinstance(column, pa.Array) else pa.array(column)
    table, out = pa.table(made), io.BytesIO()
    leaves: dict[bool, list[str]] = {True: [], False: []}  # whether they hold floats -> as Parquet names them
    for field in table.schema:
        is_list = pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)
        of = field.type.value_type if is_list else field.type
        leaves[pa.types.is_floating(of)].append(f"{field.name}.list.element" if is_list else field.name)
    # Floats hardly ever repeat, so a dictionary of them makes a file larger; byte by byte they pack by a quarter more.
    pq.write_table(table, out, compression="zstd", use_byte_stream_split=leaves[True], use_dictionary=leaves[False])
    return out.getvalue()


def is_whole(folder: Folder, name: str, n: int) -> bool:
    """Whether a file is Parquet with so many rows."""
    pa, pq = needed("pyarrow"), needed("pyarrow.parquet")
    try:
        return bool(pq.read_metadata(io.BytesIO(folder.read(name))).num_rows == n)
    except (pa.ArrowException, OSError):
        return False


def read_table(folder: Folder, names: Sequence[str], columns: Sequence[str] | None = None, where: Any = None) -> Any:
    """The rows of several files, in their order, as an Arrow table; where: conditions as pyarrow's filters.

    Raises ValueError for a file that is no whole Parquet file, and for columns that are of different kinds in them.
    """
    pa, pq = needed("pyarrow"), needed("pyarrow.parquet")
    found = []
    for name in names:
        try:
            source = folder.path(name) if folder.fs is None else io.BytesIO(folder.read(name))
            if where is None:  # opened plainly: a table of many files is a third quicker
                found.append(pq.ParquetFile(source).read(columns=columns, use_threads=False))
            else:
                found.append(pq.read_table(source, columns=columns, filters=where))
        except (pa.ArrowException, OSError) as e:
            if isinstance(e, FileNotFoundError):
                raise
            raise ValueError(
                f"{name} is half-written or damaged ({type(e).__name__}); delete it and call survey() again, which "
                "makes what is missing"
            ) from e
    try:
        return pa.concat_tables(found, promote_options="permissive")
    except pa.ArrowException as e:
        raise ValueError(f"a column is of different kinds in different chunks: {e}") from e


def read_facts(folder: Folder) -> dict[str, Any] | None:
    """What `survey.json` says; None where there is none. Raises ValueError for one that is not a survey's."""
    if FACTS not in folder.names():
        return None
    try:
        facts = json.loads(folder.read(FACTS))
        version = facts["version"]
    except (ValueError, KeyError, TypeError) as e:
        raise ValueError(f"{folder.path(FACTS)} is not what survey() wrote; take another folder") from e
    if version != VERSION:
        raise ValueError(f"the folder has rows of version {version}, this package makes version {VERSION}")
    return dict(facts)


def write_facts(folder: Folder, facts: dict[str, Any]) -> None:
    folder.write(FACTS, json.dumps(facts, indent=1, sort_keys=True).encode())
