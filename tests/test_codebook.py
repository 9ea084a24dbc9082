"""Tables of the flow: embed, expected and snap agree; tables from which tokens cannot be read back are refused."""

import pytest
import torch

from avatar_lab.codebook import Codebook


def tables(num: int = 3, size: int = 16, width: int = 8) -> torch.Tensor:
    return torch.randn(num, size, width, generator=torch.Generator().manual_seed(0))


def test_embed_is_the_sum_of_rows() -> None:
    book = Codebook(tables())
    tokens_BAK = torch.randint(0, 16, (2, 5, 3), generator=torch.Generator().manual_seed(1))
    embedded = book.embed(tokens_BAK)
    assert embedded.shape == (2, 5, 8)
    by_hand = sum(book.tables_KVD[k, tokens_BAK[1, 4, k]] for k in range(3))
    assert torch.allclose(embedded[1, 4], by_hand)


def test_snap_returns_the_tokens_of_sharp_logits() -> None:
    book = Codebook(tables())
    tokens_AK = torch.randint(0, 16, (50, 3), generator=torch.Generator().manual_seed(2))
    logits_AKV = 30.0 * torch.nn.functional.one_hot(tokens_AK, 16)
    assert torch.equal(book.snap(logits_AKV), tokens_AK)
    assert torch.allclose(book.expected(logits_AKV), book.embed(tokens_AK), atol=1e-5)


def test_every_token_tuple_is_nearest_to_its_own_embedding() -> None:
    book = Codebook(tables(num=2, size=12))
    all_tokens = torch.cartesian_prod(torch.arange(12), torch.arange(12))
    sums = book.embed(all_tokens)
    assert torch.equal(torch.cdist(sums, sums).argmin(1), torch.arange(len(sums)))


def test_expected_is_the_mean_of_embeddings_under_independent_heads() -> None:
    book = Codebook(tables(num=2, size=4))
    logits_KV = torch.randn(2, 4, generator=torch.Generator().manual_seed(3))
    probability = logits_KV.softmax(-1)
    mean = sum(
        probability[0, i] * probability[1, j] * book.embed(torch.tensor([i, j])) for i in range(4) for j in range(4)
    )
    assert torch.allclose(book.expected(logits_KV), mean, atol=1e-6)


def test_seeded_sampling_repeats_and_follows_the_distribution() -> None:
    book = Codebook(tables(num=1, size=4))
    logits_KV = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    uniform = torch.rand(20_000, 1, 4, generator=torch.Generator().manual_seed(4)).clamp(1e-7, 1 - 1e-7)
    drawn = book.snap(logits_KV.expand(20_000, 1, 4), uniform)
    assert torch.equal(drawn, book.snap(logits_KV.expand(20_000, 1, 4), uniform))
    share = torch.bincount(drawn.flatten(), minlength=4) / 20_000
    assert torch.allclose(share, logits_KV[0].softmax(-1), atol=0.015)


def test_equal_rows_are_refused() -> None:
    bad = tables()
    bad[1, 3] = bad[1, 7]
    with pytest.raises(ValueError, match="codebook 1"):
        Codebook(bad)


def test_equal_pair_sums_are_refused() -> None:
    bad = tables()
    bad[2, 5] = bad[0, 1] + bad[2, 2] - bad[0, 4]
    with pytest.raises(ValueError, match="codebooks 0 and 2"):
        Codebook(bad)


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="codebooks, entries, width"):
        Codebook(torch.zeros(4, 8))


def test_tables_travel_with_the_module() -> None:
    source, target = Codebook(tables()), Codebook(tables() * 2)
    target.load_state_dict(source.state_dict())
    tokens = torch.zeros(3, dtype=torch.int64)
    assert torch.equal(source.embed(tokens), target.embed(tokens))
