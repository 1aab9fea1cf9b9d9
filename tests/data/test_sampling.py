"""Pixels that stand for an image: drawn everywhere in it, and the same ones for every channel and every time."""

import numpy as np
import pytest

from fewmask.data.sampling import sampled


@pytest.mark.parametrize("depth", [3, 24, 41])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_slice_is_seen_as_often(depth: int, order: str) -> None:
    volume = np.asarray(np.broadcast_to(np.arange(depth), (1, 320, 320, depth)), order=order)
    chosen = sampled(volume)
    assert chosen.shape == (1, 100_000)
    counts = np.bincount(chosen[0], minlength=depth)
    # Five standard deviations of a draw, at most.
    assert np.abs(counts - 100_000 / depth).max() < 5 * np.sqrt(100_000 / depth)


def test_channels_are_read_at_the_same_places_and_no_place_twice() -> None:
    one = np.arange(200 * 300).reshape(200, 300)
    chosen = sampled(np.stack([one, -one]), 1000)
    assert chosen.shape == (2, 1000)
    np.testing.assert_array_equal(chosen[0], -chosen[1])
    assert len(np.unique(chosen[0])) == 1000
    np.testing.assert_array_equal(chosen, sampled(np.stack([one, -one]), 1000))


def test_small_images_are_given_whole() -> None:
    image = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    chosen = sampled(image, 12)
    np.testing.assert_array_equal(chosen, image.reshape(2, 12))
    assert chosen.dtype == np.int16
    assert sampled(image, 11).shape == (2, 11)
    assert sampled(np.zeros((2, 0))).shape == (2, 0)
