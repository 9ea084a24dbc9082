"""Tables of the flow: embed, expected and snap agree; tables from which tokens cannot be read back are refused."""

import pytest
import torch

from avatar_lab.codebook import READING_NOISE, Codebook


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


def test_likelihood_of_one_codebook_is_the_posterior_of_bayes() -> None:
    book = Codebook(tables(num=1, size=16))
    noisy_ND = torch.randn(7, 8, generator=torch.Generator().manual_seed(5), dtype=torch.double)
    sigma_N = torch.linspace(0, 1, 7, dtype=torch.double)
    book.double()
    scale_N1 = (sigma_N**2 + READING_NOISE**2).sqrt()[:, None, None]
    density = torch.distributions.Normal((1 - sigma_N)[:, None, None] * book.tables_KVD[0], scale_N1)
    posterior_NV = density.log_prob(noisy_ND[:, None]).sum(-1).softmax(-1)
    assert torch.allclose(book.log_likelihood(noisy_ND, sigma_N)[:, 0].softmax(-1), posterior_NV, atol=1e-12)


def test_likelihood_counts_later_codebooks_as_noise_of_their_spread() -> None:
    book = Codebook(tables(num=2, size=16)).double()
    noisy_ND = torch.randn(7, 8, generator=torch.Generator().manual_seed(5), dtype=torch.double)
    sigma = 0.4
    first_VD, second_VD = (1 - sigma) * book.tables_KVD
    spread = (second_VD - second_VD.mean(0)).square().mean()
    density = torch.distributions.Normal(first_VD + second_VD.mean(0), (spread + sigma**2 + READING_NOISE**2).sqrt())
    posterior_NV = density.log_prob(noisy_ND[:, None]).sum(-1).softmax(-1)
    found_NV = book.log_likelihood(noisy_ND, torch.full((7,), sigma, dtype=torch.double))[:, 0].softmax(-1)
    assert torch.allclose(found_NV, posterior_NV, atol=1e-12)


def test_likelihood_reads_codebook_after_codebook() -> None:
    """Coarse tokens hide fine ones: read one by one, a second codebook of a fifth of the size is found."""
    coarse_to_fine = tables(num=2, size=64, width=24) * torch.tensor([1.0, 0.2])[:, None, None]
    book = Codebook(coarse_to_fine)
    tokens_NK = torch.randint(0, 64, (500, 2), generator=torch.Generator().manual_seed(6))
    noise_ND = torch.randn(500, 24, generator=torch.Generator().manual_seed(7))

    def read(level: float) -> list[float]:
        sigma_N = torch.full((500,), level)
        noisy_ND = (1 - level) * book.embed(tokens_NK) + level * noise_ND
        right_NK = book.log_likelihood(noisy_ND, sigma_N).argmax(-1) == tokens_NK
        return right_NK.float().mean(0).tolist()

    clean, noisy, lost = read(0.0), read(0.3), read(0.9)
    assert min(clean) > 0.99
    assert noisy[0] > 0.95, "the coarse codebook is read through this noise"
    assert noisy[1] < 0.8, "noise hides the fine codebook first"
    assert lost[1] < 0.1


def test_pure_noise_says_nothing_about_tokens() -> None:
    book = Codebook(tables())
    logits_KV = book.log_likelihood(torch.randn(4, 8, generator=torch.Generator().manual_seed(8)), torch.ones(4))
    assert torch.equal(logits_KV, torch.zeros_like(logits_KV))


def test_likelihood_keeps_its_precision_in_mixed_precision() -> None:
    book = Codebook(tables())
    noisy_ND = book.embed(torch.randint(0, 16, (20, 3), generator=torch.Generator().manual_seed(9)))
    exact = book.log_likelihood(noisy_ND, torch.zeros(20))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(book.log_likelihood(noisy_ND, torch.zeros(20)), exact)


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
