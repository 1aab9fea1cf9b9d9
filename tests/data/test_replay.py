import random
from pathlib import Path

import pytest
import torch
from torch import nn

from fewmask.data.replay import Replay

torch.set_num_threads(1)


def numbered(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32)[:, None, None, None].expand(-1, 2, 3, 3).clone()


def numbers(images: torch.Tensor) -> list[int]:
    return [int(number) for number in images[:, 0, 0, 0]]


def test_it_returns_what_comes_until_it_is_full() -> None:
    replay = Replay(4)
    assert numbers(replay(numbered(1, 2, 3))) == [1, 2, 3]
    assert (replay.filled, replay.changes) == (3, 3)
    assert numbers(replay(numbered(4))) == [4]
    assert numbers(replay.content) == [1, 2, 3, 4]


def test_then_half_are_new_and_nothing_is_lost_or_doubled() -> None:
    torch.manual_seed(0)
    capacity, more = 10, 4000
    replay = Replay(capacity)
    replay(numbered(*range(capacity)))
    returned = [numbers(replay(numbered(capacity + turn)))[0] for turn in range(more)]
    fresh = sum(number == capacity + turn for turn, number in enumerate(returned))
    assert fresh / more == pytest.approx(0.5, abs=0.03)
    assert replay.changes == capacity + more - fresh
    assert sorted(returned + numbers(replay.content)) == list(range(capacity + more))


def test_every_slot_is_as_likely() -> None:
    torch.manual_seed(0)
    replay = Replay(5)
    replay(numbered(0, 1, 2, 3, 4))
    swaps = [0] * 5
    for turn in range(5, 3005):
        before = numbers(replay.content)
        replay(numbered(turn))
        for slot, (old, new) in enumerate(zip(before, numbers(replay.content), strict=True)):
            swaps[slot] += old != new
    assert all(count / sum(swaps) == pytest.approx(0.2, abs=0.04) for count in swaps)


def test_returned_images_are_detached_and_not_the_stored_ones() -> None:
    torch.manual_seed(0)
    replay = Replay(1)
    images = numbered(7).requires_grad_()
    returned = replay(images)
    assert not returned.requires_grad
    returned.zero_()
    assert numbers(replay.content) == [7]
    assert numbers(images) == [7]
    old = next(
        given for given in (replay(numbered(number)) for number in range(8, 99)) if numbers(given) == [7]
    )
    old.zero_()
    assert numbers(replay.content) != [0]


def test_draws_come_from_torchs_global_generator_alone() -> None:
    def play(seed: int) -> list[int]:
        torch.manual_seed(seed)
        random.seed()
        replay = Replay(3)
        return [number for turn in range(0, 40, 2) for number in numbers(replay(numbered(turn, turn + 1)))]

    assert play(1) == play(1)
    assert play(1) != play(2)


@pytest.mark.parametrize("seen", [0, 2, 9])
@pytest.mark.parametrize("already", [0, 5])
def test_a_resumed_run_goes_on_alike(tmp_path: Path, seen: int, already: int) -> None:
    """A method's state, through a file that is read with `weights_only`, into a fresh or a used store."""
    torch.manual_seed(0)
    first, second = nn.ModuleDict({"replay": Replay(4)}), nn.ModuleDict({"replay": Replay(4)})
    for number in range(seen):
        first["replay"](numbered(number))
    for number in range(already):
        second["replay"](numbered(100 + number))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    missing, unexpected = second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert not missing and not unexpected
    assert (second["replay"].filled, second["replay"].changes) == (
        seen if seen < 4 else 4,
        first["replay"].changes,
    )
    assert torch.equal(first["replay"].content, second["replay"].content)
    continued = []
    for method in (first, second):
        torch.manual_seed(1)
        continued.append([numbers(method["replay"](numbered(number)))[0] for number in range(50, 90)])
    assert continued[0] == continued[1]


def test_loaded_content_is_a_copy() -> None:
    first, second = Replay(2), Replay(2)
    first(numbered(1, 2))
    second.load_state_dict(first.state_dict())
    first.content.zero_()
    assert numbers(second.content) == [1, 2]


def test_another_capacity_is_refused() -> None:
    first = Replay(2)
    first(numbered(1))
    with pytest.raises(RuntimeError, match="size mismatch"):
        Replay(3).load_state_dict(first.state_dict())


def test_switched_off() -> None:
    replay = Replay(0)
    assert numbers(replay(numbered(1, 2))) == [1, 2]
    assert replay.changes == 0


def test_half_precision_comes_back_as_it_went() -> None:
    torch.manual_seed(0)
    replay = Replay(1)
    replay(numbered(1))
    for number in range(2, 9):
        assert replay(numbered(number).bfloat16()).dtype == torch.bfloat16


def test_faults() -> None:
    replay = Replay(2)
    replay(numbered(1))
    with pytest.raises(ValueError, match=r"holds images of shape \(2, 3, 3\), not \(2, 4, 4\)"):
        replay(torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match="negative"):
        Replay(-1)
