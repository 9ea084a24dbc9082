"""User features: causal, blind to who the user is, and to tokens that were absent."""

import torch
from torch import Tensor

from avatar_lab.model.embedding import UserFeatures

STACK, REST, WIDTH = 3, 8, 5


def _features(tokens_BTU: Tensor, present_BT: Tensor | None = None) -> Tensor:
    torch.manual_seed(0)
    module = UserFeatures(WIDTH, 16, STACK, REST).double()
    present = torch.ones(tokens_BTU.shape[:2], dtype=torch.bool) if present_BT is None else present_BT
    return module(tokens_BTU, present)


def _tokens(length: int = 30) -> Tensor:
    return torch.randn(2, length, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def test_another_resting_face_gives_the_same_features() -> None:
    tokens = _tokens()
    assert torch.allclose(_features(tokens), _features(tokens + 7.0), atol=1e-12)


def test_a_change_is_seen_at_once_and_becomes_the_resting_face_in_time() -> None:
    still = torch.zeros(1, 40, WIDTH, dtype=torch.double)
    changed = still.clone()
    changed[:, 20:] = 1.0
    difference = (_features(changed) - _features(still)).abs().amax((0, 2))
    assert (difference[:20] == 0).all()
    assert difference[20] > 1e-3
    assert (difference[20 + REST + STACK - 2 :] == 0).all()


def test_a_feature_forgets_exactly_what_is_older_than_its_reach() -> None:
    tokens = _tokens()
    older = tokens.clone()
    older[:, :10] = 99.0
    reach = STACK - 1 + REST - 1
    before, after = _features(tokens), _features(older)
    assert torch.equal(before[:, 10 + reach :], after[:, 10 + reach :])
    assert not torch.equal(before[:, 9 + reach], after[:, 9 + reach])


def test_absent_tokens_are_not_averaged() -> None:
    tokens = _tokens()
    present = torch.ones(tokens.shape[:2], dtype=torch.bool)
    present[:, 12:15] = False
    other = tokens.clone()
    other[:, 12:15] = -50.0
    assert torch.equal(_features(tokens, present), _features(other, present))
