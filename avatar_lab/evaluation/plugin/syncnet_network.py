"""SyncNet: a mouth in five frames and the sound of the same .2 s to one space, near where they belong together.

Chung & Zisserman 2016, "Out of time" (ACCV workshops), in the version of the public weights ``syncnet_v2.model``: the
layers have the names and shapes of that file.

    N windows   C colours, blue first, 0 to 255   F frames of a window   H, W   M mel cepstra   T steps of 10 ms   E
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

WINDOW = 5
"""Frames."""
STEPS = 20
"""Cepstra in a window, one each 10 ms."""
CEPSTRA = 13
SIDE = 224
_HIDDEN, _EMBEDDING = 512, 1024


class SyncNet(nn.Module):
    """Two towers; embeddings (N, 1024) are compared by their Euclidean distance."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_hearing(1, 64),
            nn.MaxPool2d(1),
            *_hearing(64, 192),
            nn.MaxPool2d(3, (1, 2)),
            *_hearing(192, 384),
            *_hearing(384, 256),
            *_hearing(256, 256),
            nn.MaxPool2d(3, 2),
            *_hearing(256, _HIDDEN, kernel=(5, 4), padding=0),
        )
        self.netcnnlip = nn.Sequential(
            *_seeing(3, 96, kernel=(WINDOW, 7, 7), stride=2, padding=0),
            _pool(padding=0),
            *_seeing(96, 256, kernel=(1, 5, 5), stride=2),
            _pool(padding=1),
            *_seeing(256, 256),
            *_seeing(256, 256),
            *_seeing(256, 256),
            _pool(padding=0),
            *_seeing(256, _HIDDEN, kernel=(1, 6, 6), padding=0),
        )
        self.netfcaud, self.netfclip = _head(), _head()

    @classmethod
    def load(cls, path: Path) -> SyncNet:
        """From a file of weights, frozen; nothing but tensors is read from it.

        Raises:
            ValueError: the file is damaged or holds another network.
        """
        network = cls()
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, AttributeError, TypeError, EOFError, OSError, UnpicklingError) as error:
            raise ValueError(f"{path} holds no weights of SyncNet ({error}): give syncnet_v2.model") from error
        return network.eval().requires_grad_(False)

    def hear(self, cepstra_N1MT: Tensor) -> Tensor:
        """Embeddings (N, E) of cepstra (N, 1, 13, 20)."""
        return self.netfcaud(self.netcnnaud(cepstra_N1MT).flatten(1))

    def see(self, faces_NCFHW: Tensor) -> Tensor:
        """Embeddings (N, E) of faces (N, 3, 5, 224, 224)."""
        return self.netfclip(self.netcnnlip(faces_NCFHW).flatten(1))


def _hearing(
    incoming: int, outgoing: int, *, kernel: int | tuple[int, int] = 3, padding: int = 1
) -> tuple[nn.Module, nn.Module, nn.Module]:
    return nn.Conv2d(incoming, outgoing, kernel, padding=padding), nn.BatchNorm2d(outgoing), nn.ReLU()


def _seeing(
    incoming: int, outgoing: int, *, kernel: tuple[int, int, int] = (1, 3, 3), stride: int = 1, padding: int = 1
) -> tuple[nn.Module, nn.Module, nn.Module]:
    step, around = (1, stride, stride), (0, padding, padding)
    return nn.Conv3d(incoming, outgoing, kernel, step, around), nn.BatchNorm3d(outgoing), nn.ReLU()


def _pool(*, padding: int) -> nn.MaxPool3d:
    return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, padding, padding))


def _head() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(_HIDDEN, _HIDDEN), nn.BatchNorm1d(_HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _EMBEDDING)
    )
