"""Stored pairs: tensors of training windows that a model made once, to be learned from again and again.

A folder holds ``dataset.json`` of the data set that the windows were cut from, and ``pairs_N.safetensors``, each with
one row per window in every tensor. Files come by rename, so whatever is there is whole; what made a file stands in its
header, and files of different makers do not mix.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from avatar_lab.data.map_batches import MapBatches
from avatar_lab.data.schema import DatasetInfo, read_info

HEADER = "avatar_lab.pairs"


def pairs_file(folder: Path, number: int) -> Path:
    """Where the windows of step ``number`` lie."""
    return folder / f"pairs_{number:06d}.safetensors"


def write_pairs(path: Path, tensors: Mapping[str, Tensor], *, maker: Mapping[str, object]) -> None:
    """Write the windows of one file; ``maker`` says what made them."""
    temporary = path.with_suffix(".tmp")
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}  # none shared
    save_file(stored, temporary, metadata={HEADER: json.dumps(maker, sort_keys=True)})
    temporary.replace(path)


def read_maker(path: Path) -> tuple[dict[str, object], int]:
    """What made a file, and how many windows it has.

    Raises:
        ValueError: it is damaged, or holds no pairs.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER)
            rows = {file.get_slice(name).get_shape()[0] for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, and make what is missing again") from error
    if header is None or len(rows) != 1:
        raise ValueError(f"{path} holds no pairs: give the folder that avatar-lab pairs wrote")
    maker: dict[str, object] = json.loads(header)
    return maker, rows.pop()


class StoredPairs(MapBatches):
    """Batches of tensors by name, in the order in which they were made, from the start again after the last.

    batch_size  windows per step over all ranks

    Raises:
        ValueError: there are none, a file is damaged, or their makers differ.
    """

    def __init__(self, *, root: Path, batch_size: int) -> None:
        files = sorted(Path(root).glob("pairs_*.safetensors"))
        if not files:
            raise ValueError(f"no pairs below {root}: make them with avatar-lab pairs experiment=... --windows N")
        found = {path: read_maker(path) for path in files}
        info = read_info(Path(root))
        content = "".join(f"{path.name} {rows} {maker}" for path, (maker, rows) in found.items())
        self.info: DatasetInfo = replace(info, content_hash=sha256((info.content_hash + content).encode()).hexdigest())
        """Of the windows' data set; its hash is that of the pairs: a run goes on only with those that it began with."""
        self.maker = found[files[0]][0]
        for path, (maker, _) in found.items():
            if maker != self.maker:
                raise ValueError(f"{path} was made by {maker}, others by {self.maker}: use one folder for each")
        rows = [(path, row) for path, (_, rows) in found.items() for row in range(rows)]
        super().__init__(dataset=_Windows(rows), batch_size=batch_size)


class _Windows(Dataset[dict[str, Tensor]]):
    def __init__(self, rows: list[tuple[Path, int]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        path, row = self._rows[index]
        with safe_open(path, framework="pt") as file:
            return {name: torch.as_tensor(file.get_slice(name)[row]) for name in file.keys()}  # noqa: SIM118
