"""A data set's own arrays (face parameters, poses) within a window, on the layout's video frames; only where asked for.

Each frame of the window takes the row that holds at its time, as a frame of video is shown: the same rule by which the
pictures were sampled, so that arrays and latents show the same moment. Types become those of training (float32, int64,
bool); native rates and types are in ``Interaction.features``.

    R rows of an array   P frames
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from avatar_lab.data.schema import FeatureForm, SideFeatures, matches
from avatar_lab.layout import Layout
from avatar_lab.tensors import FrameFeatures

_TRAINED = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_}


@dataclass(frozen=True, kw_only=True)
class WindowFeatures:
    """Arrays of one window by name: values (P, ...), and which frames have any (P,)."""

    avatar: dict[str, tuple[np.ndarray, np.ndarray]]
    user: dict[str, tuple[np.ndarray, np.ndarray]]


def chosen_forms(there: Sequence[FeatureForm], patterns: Sequence[str]) -> tuple[FeatureForm, ...]:
    """Forms of the arrays that ``patterns`` name, in which ``*`` stands for anything.

    Raises:
        ValueError: a pattern names none, or an array has other rows in some recordings than in others.
    """
    if isinstance(patterns, str):
        raise ValueError(f"features is {patterns!r}: give a list of names, such as [{patterns}]")
    names = sorted({form.name for form in there})
    for pattern in patterns:
        if not any(matches(name, [pattern]) for name in names):
            raise ValueError(f"features: {pattern!r} is no array of this data set, which has {names or 'none'}")
    chosen = [form for form in there if matches(form.name, patterns)]
    for form in chosen:
        others = [other for other in chosen if other.name == form.name and _trained(other) != _trained(form)]
        if others:
            raise ValueError(
                f"features: rows are not alike in all recordings ({form}, {others[0]}) and fit into no batch: leave "
                f"{form.name} out, or read it from interaction(key).features"
            )
    return tuple({form.name: form for form in chosen}.values())


def cut_features(
    features: SideFeatures | None, forms: Sequence[FeatureForm], *, layout: Layout, first: int, count: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Values and validity of ``count`` frames from frame ``first`` on, by name; zeros where there is no row, while what
    the data set left as NaN stays NaN.

    Raises:
        ValueError: rows are of another shape than ``dataset.json`` says.
    """
    seconds_P = (first + np.arange(count)) * float(1 / layout.fps)
    cut = {}
    for form in forms:
        dtype, shape = _trained(form)
        values: np.ndarray = np.zeros((count, *shape), dtype)
        valid_P = np.zeros(count, bool)
        if features is not None and form.name in features.arrays:
            array = features.arrays[form.name]
            if array.shape[1:] != shape:
                raise ValueError(f"{form.name} has rows of shape {array.shape[1:]}, dataset.json says {shape}")
            index_P, valid_P = features.at(seconds_P)
            values[valid_P] = array[index_P[valid_P]]
        cut[form.name] = (values, valid_P)
    return cut


def stack_features(windows: Sequence[WindowFeatures]) -> FrameFeatures:
    """Tensors of equally long windows that were cut by the same forms."""

    def stacked(people: Sequence[Mapping[str, tuple[np.ndarray, np.ndarray]]], part: int) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(np.stack([person[name][part] for person in people])) for name in people[0]}

    avatars, users = [window.avatar for window in windows], [window.user for window in windows]
    return FrameFeatures(
        avatar=stacked(avatars, 0),
        avatar_valid=stacked(avatars, 1),
        user=stacked(users, 0),
        user_valid=stacked(users, 1),
    )


def _trained(form: FeatureForm) -> tuple[type, tuple[int, ...]]:
    return _TRAINED[np.dtype(form.dtype).kind], form.shape
