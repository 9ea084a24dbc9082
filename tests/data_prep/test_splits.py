from collections import Counter
from pathlib import Path

import pytest

from data_prep.blob import Blob
from data_prep.manifest import Recording, SideFiles
from data_prep.splits import assign_splits

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def _recording(name: str, people: tuple[str, str], *, group: str = "", split: str | None = None) -> Recording:
    files = {
        side: SideFiles(participant=person, video=Blob.of(Path(f"{name}{side}.mp4")), audio=None)
        for side, person in zip("ab", people, strict=True)
    }
    return Recording(
        interaction=name, source="s", group=group, sides=files, license="x", non_commercial=False, split=split
    )


def test_people_who_ever_met_stay_together() -> None:
    rows = []
    for room in range(200):
        rows += [_recording(f"r{room}-{i}", (f"p{room}.{i}", f"p{room}.{i + 1}")) for i in range(3)]
    split_of = assign_splits(rows, SHARES)
    people: dict[str, set[str]] = {}
    for row in rows:
        for files in row.sides.values():
            people.setdefault(files.participant, set()).add(split_of[row.interaction])
    assert all(len(splits) == 1 for splits in people.values())
    counts = Counter(split_of.values())
    assert abs(counts["train"] / len(rows) - 0.8) < 0.08
    assert set(counts) == set(SHARES)


def test_groups_stay_together_and_order_does_not_matter() -> None:
    rows = [_recording(f"r{i}", (f"p{i}", f"q{i}"), group=f"g{i // 4}") for i in range(80)]
    split_of = assign_splits(rows, SHARES)
    assert assign_splits(rows[::-1], SHARES) == split_of
    assert all(len({split_of[f"r{4 * g + k}"] for k in range(4)}) == 1 for g in range(20))


def test_new_people_move_nobody() -> None:
    rows = [_recording(f"r{i}", (f"p{i}", f"q{i}")) for i in range(60)]
    before = assign_splits(rows[:30], SHARES)
    after = assign_splits(rows, SHARES)
    assert all(after[name] == split for name, split in before.items())


def test_fixed_splits_win_and_must_be_disjoint() -> None:
    rows = [_recording("r0", ("p", "q"), split="test"), _recording("r1", ("q", "r"))]
    assert assign_splits(rows, {"train": 1.0}) == {"r0": "test", "r1": "test"}
    with pytest.raises(ValueError, match="'test' and in 'train'"):
        assign_splits([*rows, _recording("r2", ("r", "s"), split="train")], {"train": 1.0})


def test_shares_must_add_up() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        assign_splits([], {"train": 0.5})
