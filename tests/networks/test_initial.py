"""Fresh weights: what calibration promises, by the network's own features."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.networks.initial import calibrate, draw_kaiming, smooth_noise

torch.set_num_threads(1)


def plain(depth: int = 13) -> nn.Sequential:
    """A deep network without norms, drawn by He's rule."""
    layers: list[nn.Module] = []
    for place in range(depth):
        layers += [nn.Conv2d(24 if place else 3, 24, kernel_size=3, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers)
    draw_kaiming(network, slope=0.0)
    return network


def alikeness(network: nn.Sequential, images: Tensor) -> float:
    """The mean cosine between the last convolution's mean features of different images."""
    with torch.no_grad():
        features = functional.normalize(network[:-1](images).mean((2, 3)), dim=1)
    cosines = features @ features.T
    return cosines[~torch.eye(len(images), dtype=torch.bool)].mean().item()


def test_noise_is_smooth_and_fills_its_range() -> None:
    torch.manual_seed(0)
    images = smooth_noise(3, 64)
    assert images.shape == (3, 1, 64, 64)
    assert images.amin((1, 2, 3)).tolist() == [0.0] * 3 and images.amax((1, 2, 3)).tolist() == [1.0] * 3
    beside = (images[..., 1:] - images[..., :-1]).abs().mean()
    apart = (images[..., 32:] - images[..., :-32]).abs().mean()
    assert beside < 0.4 * apart


def test_calibrated_features_have_mean_0_and_deviation_1() -> None:
    torch.manual_seed(0)
    network = plain()
    calibrate(network, 3)
    maps = smooth_noise(64, 64).expand(-1, 3, -1, -1)
    with torch.no_grad():
        for layer in network:
            maps = layer(maps)
            if isinstance(layer, nn.Conv2d):
                # Other noise than it was calibrated by: about, not exactly.
                assert maps.mean((0, 2, 3)).abs().mean() < 0.3
                assert 0.7 < maps.std((0, 2, 3)).mean() < 1.4


def test_images_stay_unlike_through_thirteen_layers() -> None:
    torch.manual_seed(0)
    network = plain()
    images = smooth_noise(16, 64).expand(-1, 3, -1, -1)
    uncalibrated = alikeness(network, images)
    calibrate(network, 3)
    assert uncalibrated > 0.95
    assert alikeness(network, images) < 0.5


def test_a_feature_that_never_varies_stays_finite() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, kernel_size=1))
    nn.init.zeros_(network[0].weight)
    calibrate(network, 1)
    assert all(bool(torch.isfinite(weight).all()) for weight in network.parameters())
