"""Participant-disjoint splits: people who ever talk to each other, or share a group, stay together.

The connected component of an interaction is hashed to a point in [0, 1), which falls into one split's share. So adding
recordings of new people moves no old one, and no person is in two splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from avatar_lab.data.schema import shard_name
from data_prep.manifest import Recording


def assign_splits(
    recordings: Sequence[Recording], shares: Mapping[str, float], *, allow_leakage: bool = False
) -> dict[str, str]:
    """Split of every recording by interaction; a split fixed by the source wins.

    Raises:
        ValueError: the shares do not add up to 1, a split cannot be part of a file name, or a source's fixed splits
            put one person into two and ``allow_leakage`` is not set.
    """
    if abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) < 0:
        raise ValueError(f"split shares {dict(shares)} must be positive and add up to 1")
    for split in {*shares, *(str(recording.split) for recording in recordings if recording.split is not None)}:
        shard_name(split, 0)
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for recording in recordings:
        nodes = _nodes(recording)
        for other in nodes[1:]:
            # the smaller name becomes the root, whatever the order of the recordings
            low, high = sorted((find(nodes[0]), find(other)))
            parent[high] = low
    splits = {}
    fixed: dict[str, str] = {}
    for recording in recordings:
        component = find(_nodes(recording)[0])
        if recording.split is None:
            continue
        if fixed.setdefault(component, recording.split) != recording.split and not allow_leakage:
            raise ValueError(
                f"{recording.interaction}: its participants are in split {fixed[component]!r} and in "
                f"{recording.split!r}; correct the source's splits, or set allow_leakage=true to keep them"
            )
    for recording in recordings:
        component = find(_nodes(recording)[0])
        splits[recording.interaction] = recording.split or fixed.get(component) or _draw(component, shares)
    return splits


def _nodes(recording: Recording) -> list[str]:
    people = [f"person {files.participant}" for _, files in sorted(recording.sides.items())]
    return people + ([f"group {recording.group}"] if recording.group else [])


def _draw(component: str, shares: Mapping[str, float]) -> str:
    point = int.from_bytes(sha256(component.encode()).digest()[:8]) / 2**64
    for split, share in shares.items():
        if point < share:
            return split
        point -= share
    return list(shares)[-1]
