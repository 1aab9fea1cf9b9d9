"""Batch normalisation that sees the whole batch, however many processes share it."""

import torch
from torch import Tensor, nn

from fewmask.ranks import rank_count, sum_over_ranks


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose mean and variance are taken over the batches of all processes.

    Trained on several processes it gives what one process gives on the joint batch: outputs, running
    statistics and, once the gradients are averaged over the processes, gradients. With one process it is
    `nn.BatchNorm2d`, whose state it shares key by key. Every process must call it equally often. Ioffe &
    Szegedy 2015, Algorithm 1.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W) by the joint batch in training, by the running statistics otherwise."""
        if not self.training or rank_count() == 1:
            return super().forward(input)
        # Statistics of half-precision maps are taken in single precision, as torch's own kernels do.
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        own_count = torch.tensor(values.numel() / values.shape[1], dtype=torch.float64, device=values.device)
        count = sum_over_ranks(own_count)
        mean = sum_over_ranks(values.sum((0, 2, 3))) / count
        # Centred before squaring: E[x^2] - E[x]^2 cancels where the mean is large beside the spread.
        centred = values - mean[:, None, None]
        variance = sum_over_ranks(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        scale = torch.rsqrt(variance + self.eps)
        if not self.affine:
            return (centred * scale[:, None, None]).to(input.dtype)
        scaled = centred * (scale * self.weight)[:, None, None] + self.bias[:, None, None]
        return scaled.to(input.dtype)

    def _remember(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        """Move the running statistics towards those of this batch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased_variance.to(self.running_var.dtype), share)


class NormOfMeans(SharedBatchNorm2d):
    """Batch normalisation of one value an image.

    A batch of a single image has no deviation to be normalised by, and torch's own norm would refuse it. In training
    it then is normalised by the running statistics, which stay as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, 1, 1)."""
        if self.training and len(input) == 1 and rank_count() == 1:
            return nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)
