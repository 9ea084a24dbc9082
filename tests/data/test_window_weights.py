"""The mean of weights that an order rests on, by the closed form and start by start."""

import numpy as np
import pytest

from avatar_lab.data.window_weights import PerSecond, WindowGrid


@pytest.mark.parametrize(("window", "block"), [(6.4, 0.32), (1.92, 0.32), (0.5, 0.5), (3.0, 0.2)])
@pytest.mark.parametrize("at_once", [40, 1 << 18])
def test_mean_over_all_starts_is_that_of_the_starts(
    window: float, block: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avatar_lab.data.window_weights._VALUES_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    counts = np.concatenate([rng.integers(8, 60, 30), [0, 12, 12, 1, 0]])  # seconds that the index states, or none
    starts = np.where(counts > 7, ((counts - window) // block + 1), 3).astype(int) + rng.integers(0, 3, len(counts))
    ends = np.cumsum(counts)
    figures = PerSecond(
        value_V=rng.integers(0, 101, ends[-1]).astype(np.uint8),
        span_N2=np.stack([ends - counts, ends], axis=1)[::-1],  # keys are in another order than the file
        unit=100,
    )
    grid = WindowGrid(window=window, block=block)
    each = [grid.means(figures.of(row), starts=int(count)).mean() for row, count in enumerate(starts[::-1])]
    np.testing.assert_allclose(grid.mean_of_means(figures, starts_N=starts[::-1]), each, rtol=1e-12, atol=1e-12)
    assert max(each) > 0.3
