"""A store of earlier fakes, so that a critic does not forget what it has already learnt to see through."""

from typing import Any

import torch
from torch import Tensor, nn


class Replay(nn.Module):
    """Hands back sometimes the fake that it is given and sometimes an earlier one, which it then forgets.

    While the store fills, each image is kept and returned. After that, each image is with probability 1/2
    returned as it is, and else it takes the place of a random stored one, which is returned (Shrivastava et
    al. 2017, section 2.3, as Zhu et al. 2017 use it). `capacity` is in images; 0 switches the store off.

    With `whole_batches` it keeps and exchanges batches as they came, `capacity` of them: images that a critic has
    seen side by side come back side by side (SIFA's code). A batch of another size empties the store.

    Draws come from torch's global CPU generator. The content belongs to the state, so a resumed run goes on
    with it; each process keeps a store of its own. What must come back together, such as an image and its
    attention map, is stored as one image with more channels.
    """

    content: Tensor
    """(capacity, C, H, W), the first `filled` of them in use; empty before the first image comes.

    With whole batches (capacity, B, C, H, W).
    """

    def __init__(self, capacity: int = 50, whole_batches: bool = False) -> None:
        super().__init__()
        if capacity < 0:
            raise ValueError(f"a replay's capacity cannot be negative: {capacity}")
        self.capacity = capacity
        self.whole_batches = whole_batches
        self.filled = 0
        self.changes = 0
        """How often an image was stored, ever: a checkpoint that knows it can skip an unchanged store."""
        self.register_buffer("content", torch.empty(0))

    def forward(self, images: Tensor) -> Tensor:
        """As many images as given, (B, C, H, W), new and old, detached.

        Raises ValueError where their shape is not that of the stored ones.
        """
        current = images.detach()
        if self.capacity == 0:
            return current
        if self.content.numel() == 0:
            self._empty(current)
        if self.content.shape[-3:] != current.shape[1:]:
            stored, given = tuple(self.content.shape[-3:]), tuple(current.shape[1:])
            raise ValueError(f"the replay holds images of shape {stored}, not {given}")
        if not self.whole_batches:
            return torch.stack([self._exchange(image) for image in current])
        if self.content.shape[1] != len(current):
            self._empty(current)
        return self._exchange(current)

    def _empty(self, images: Tensor) -> None:
        """Room for images like these, with none in it."""
        item = images.shape if self.whole_batches else images.shape[1:]
        self.content = images.new_zeros((self.capacity, *item))
        self.filled = 0

    def _exchange(self, image: Tensor) -> Tensor:
        if self.filled < self.capacity:
            self._store(self.filled, image)
            self.filled += 1
            return image
        if float(torch.rand(())) < 0.5:
            return image
        slot = int(torch.randint(self.capacity, ()))
        earlier = self.content[slot].to(image, copy=True)
        self._store(slot, image)
        return earlier

    def _store(self, slot: int, image: Tensor) -> None:
        self.content[slot] = image
        self.changes += 1

    def get_extra_state(self) -> Tensor:
        """The two counters, for `state_dict`: on the CPU, so that reading them never waits for a device."""
        return torch.tensor([self.filled, self.changes], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        """The two counters, from `state_dict`."""
        self.filled, self.changes = (int(number) for number in state)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        # The shape of the content is known only once images came; torch copies into tensors of equal shape
        # alone.
        saved = state_dict.get(f"{prefix}content")
        if isinstance(saved, Tensor) and (saved.numel() == 0 or len(saved) == self.capacity):
            self.content = torch.empty_like(saved, device=self.content.device)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
