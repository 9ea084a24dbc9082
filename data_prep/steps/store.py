"""Results of steps on disk, keyed by what they were computed from, published by rename.

A result is a folder ``<work>/<step>/<key>/``. It is written under a temporary name and renamed when complete, so a
killed run leaves no half result and the next run goes on where it stopped. A skip is a result too: the same input is
not tried again, and it is counted again.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avatar_lab.data.schema.npy import Rows, npy_pieces, read_header
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.steps.scratch import FileRows

TRANSIENT = frozenset({SkipReason.TIMEOUT})
"""Reasons that may not hold next time, and are therefore not stored."""
_ARRAYS = "arrays.npz"


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step hands on; ``arrays`` of a stored result are read each time that one is asked for."""

    values: dict[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    rows: Mapping[str, Rows] = field(default_factory=dict)
    """Arrays that are too long for memory; they are stored like the others, and ``StepStore.rows`` opens them."""
    tables: dict[str, pa.Table] = field(default_factory=dict)


def step_key(step: str, version: int, params: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """sha256 over the step, its version, its parameters (codec fingerprints included) and the hashes of its inputs."""
    stated = {"step": step, "version": version, "params": dict(params), "inputs": dict(inputs)}
    return sha256(json.dumps(stated, sort_keys=True, default=str).encode()).hexdigest()


class StepStore:
    """Folder of step results; safe for several processes."""

    def __init__(self, work: Path) -> None:
        self._work = Path(work)

    def load(self, step: str, key: str) -> StepResult | None:
        """A stored result, or None if there is none yet.

        Raises:
            SkipRecording: the stored result is a skip.
        """
        folder = self._work / step / key
        if not folder.is_dir():
            return None
        plain = json.loads((folder / "result.json").read_text())
        if "skip" in plain:
            raise SkipRecording(SkipReason(plain["skip"]), plain["detail"])
        arrays = np.load(folder / _ARRAYS, allow_pickle=False) if (folder / _ARRAYS).is_file() else {}
        tables = {path.stem: pq.read_table(path, use_threads=False) for path in sorted(folder.glob("*.parquet"))}
        return StepResult(values=plain, arrays=arrays, tables=tables)

    def rows(self, step: str, key: str) -> dict[str, FileRows]:
        """All arrays of a stored result, to be read a stretch at a time."""
        found = {}
        with zipfile.ZipFile(self._work / step / key / _ARRAYS) as archive:
            for name in archive.namelist():
                member = archive.open(name)  # stays open when the archive is closed
                header = read_header(member)
                assert not header.fortran  # ``save`` writes row after row
                found[name.removesuffix(".npy")] = FileRows(member, header.shape, header.dtype, offset=member.tell())
        return found

    def save(self, step: str, key: str, result: StepResult) -> None:
        """Publish ``result``; if another process was faster, its equal result stays."""
        with_payload = self._temporary(step, key)
        if held := {**result.arrays, **result.rows}:
            with zipfile.ZipFile(with_payload / _ARRAYS, "w") as archive:
                for name, array in held.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        member.writelines(npy_pieces(array))
        for name, table in result.tables.items():
            pq.write_table(table, with_payload / f"{name}.parquet")
        self._publish(with_payload, self._work / step / key, result.values)

    def save_skip(self, step: str, key: str, skip: SkipRecording) -> None:
        """Publish that the input cannot be used, unless the reason may pass."""
        if skip.reason in TRANSIENT:
            return
        values = {"skip": str(skip.reason), "detail": skip.detail}
        self._publish(self._temporary(step, key), self._work / step / key, values)

    def _temporary(self, step: str, key: str) -> Path:
        folder = self._work / step / f".{key[:16]}.{os.getpid()}.{uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        return folder

    def _publish(self, folder: Path, target: Path, values: dict[str, Any]) -> None:
        (folder / "result.json").write_text(json.dumps(values))
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            shutil.rmtree(folder)

    def sweep(self) -> None:
        """Remove what killed runs left behind; only while no other run uses this folder."""
        for folder in self._work.glob("*/.*"):
            shutil.rmtree(folder, ignore_errors=True)
