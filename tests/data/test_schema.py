import io
import json

import numpy as np
import pytest

from avatar_lab.data.schema import from_members, shard_key
from avatar_lab.data.schema.npy import npy_pieces, read_npy
from avatar_lab.data.schema.sample import ARRAYS
from avatar_lab.layout import Layout
from tests.data.small_dataset import random_interaction, raw_members


@pytest.fixture
def members() -> dict[str, bytes]:
    return raw_members(random_interaction("d0", seconds=10.0, layout=Layout()))


def test_members_round_trip(members: dict[str, bytes]) -> None:
    original = random_interaction("d0", seconds=10.0, layout=Layout())
    again = from_members("d0", members)
    assert again.meta == original.meta
    assert again.events.equals(original.events)
    assert again.given_events is None
    for side in ("a", "b"):
        for name in ARRAYS:
            stored, wanted = getattr(again.sides[side], name), getattr(original.sides[side], name)
            assert stored.dtype == wanted.dtype
            np.testing.assert_array_equal(stored, wanted)


def test_unknown_members_are_ignored(members: dict[str, bytes]) -> None:
    members["evil.pyd"] = b"\x80\x04cos\nsystem\n."
    assert from_members("d0", members).key == "d0"


def test_pickled_arrays_are_refused(members: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray([{"a": 1}], dtype=object), allow_pickle=True)
    members["a.script.npy"] = buffer.getvalue()
    with pytest.raises(ValueError, match=r"a\.script\.npy.*allow_pickle"):
        from_members("d0", members)


def test_missing_member_is_named(members: dict[str, bytes]) -> None:
    del members["b.audio_tokens.npy"]
    with pytest.raises(ValueError, match=r"lacks member b\.audio_tokens\.npy"):
        from_members("d0", members)


def test_wrong_type_and_length_are_refused(members: dict[str, bytes]) -> None:
    for bad, message in ((np.zeros(125, np.int64), "bool with axes T"), (np.zeros(9, bool), "entries on axis T")):
        buffer = io.BytesIO()
        np.save(buffer, bad)
        with pytest.raises(ValueError, match=message):
            from_members("d0", members | {"a.script.npy": buffer.getvalue()})


def test_other_schema_version_is_refused(members: dict[str, bytes]) -> None:
    plain = json.loads(members["json"]) | {"schema_version": 99}
    with pytest.raises(ValueError, match="schema version 99"):
        from_members("d0", members | {"json": json.dumps(plain).encode()})


def test_keys_have_no_dots_or_slashes() -> None:
    assert shard_key("session 1/../a.b") == "session-1----a-b"
    with pytest.raises(ValueError, match="empty"):
        shard_key("")


@pytest.mark.parametrize(
    "array",
    [np.arange(12.0).reshape(3, 4), np.zeros((0, 3), np.int32), np.array(5), np.ones((2, 3, 4), np.float16)[:, :, ::2]],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_in_any_order_and_may_be_written_to(array: np.ndarray, order: str) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array, order=order), allow_pickle=False)  # type: ignore[arg-type]
    for _ in range(2):  # once more with the header remembered
        read = read_npy(buffer.getvalue(), where="here")
        np.testing.assert_array_equal(read, array)
        assert (read.dtype, read.shape) == (array.dtype, array.shape)
        assert read.flags.writeable


def test_arrays_are_written_a_stretch_at_a_time_as_numpy_writes_them() -> None:
    rng = np.random.default_rng(0)
    large = rng.standard_normal((9, 300_000)).astype(np.float32)  # 10.8 MB
    for array in (large, large.T, large[:, ::2], large.astype(">f4"), np.zeros((0, 4), bool), np.arange(5)):
        pieces = list(npy_pieces(array))
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array))
        assert b"".join(pieces) == buffer.getvalue()
        assert max(map(len, pieces)) <= 4 << 20
    with pytest.raises(ValueError, match="pickled"):
        list(npy_pieces(np.array([None])))
