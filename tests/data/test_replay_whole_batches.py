import pytest
import torch

from fewmask.data.replay import Replay

torch.set_num_threads(1)


def batch(number: int, size: int = 3) -> torch.Tensor:
    """A batch whose images know which batch they came in, and at which place."""
    return torch.stack([torch.full((1, 2, 2), 10.0 * number + place) for place in range(size)])


def number_of(images: torch.Tensor) -> int:
    """The batch that the images came in; all of them must have come in one, in its order."""
    number = int(images[0, 0, 0, 0]) // 10
    assert torch.equal(images, batch(number, len(images)))
    return number


def test_batches_come_back_as_they_came() -> None:
    torch.manual_seed(0)
    replay = Replay(4, whole_batches=True)
    assert [number_of(replay(batch(number))) for number in range(4)] == [0, 1, 2, 3]
    assert (replay.filled, replay.changes, tuple(replay.content.shape)) == (4, 4, (4, 3, 1, 2, 2))
    returned = [number_of(replay(batch(number))) for number in range(4, 2004)]
    fresh = sum(given == number for given, number in zip(returned, range(4, 2004), strict=True))
    assert fresh / 2000 == pytest.approx(0.5, abs=0.04)
    held = [number_of(stored) for stored in replay.content]
    assert sorted(returned + held) == list(range(2004))


def test_another_size_of_batch_empties_the_store() -> None:
    replay = Replay(2, whole_batches=True)
    replay(batch(1))
    replay(batch(2))
    assert number_of(replay(batch(3, size=2))) == 3
    assert replay.filled == 1
    with pytest.raises(ValueError, match="shape"):
        replay(torch.zeros(2, 1, 4, 4))


def test_the_state_goes_on() -> None:
    first, second = Replay(2, whole_batches=True), Replay(2, whole_batches=True)
    for number in range(2):
        first(batch(number))
    second.load_state_dict(first.state_dict())
    torch.manual_seed(1)
    ours = [number_of(first(batch(number))) for number in range(2, 12)]
    torch.manual_seed(1)
    assert ours == [number_of(second(batch(number))) for number in range(2, 12)]


def test_no_store() -> None:
    assert number_of(Replay(0, whole_batches=True)(batch(5))) == 5
