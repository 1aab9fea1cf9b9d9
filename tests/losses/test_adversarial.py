import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.losses.adversarial import fool, tell_apart

torch.set_num_threads(1)

FORMS = ("least_squares", "log")


def verdicts(value: float) -> torch.Tensor:
    return torch.full((2, 1, 3, 3), value)


def test_least_squares_oracles() -> None:
    assert float(tell_apart(verdicts(1.0), verdicts(0.0))) == 0.0
    assert float(tell_apart(verdicts(0.5), verdicts(0.5))) == 0.25
    assert float(tell_apart(verdicts(0.0), verdicts(1.0))) == 1.0
    assert float(fool(verdicts(1.0))) == 0.0
    assert float(fool(verdicts(0.0))) == 1.0


def test_log_oracles() -> None:
    assert float(tell_apart(verdicts(0.0), verdicts(0.0), "log")) == pytest.approx(math.log(2))
    assert float(fool(verdicts(0.0), "log")) == pytest.approx(math.log(2))
    assert float(tell_apart(verdicts(40.0), verdicts(-40.0), "log")) == pytest.approx(0.0, abs=1e-6)
    assert float(fool(verdicts(-200.0), "log")) == pytest.approx(200.0)


@given(st.floats(-3, 3), st.floats(-3, 3))
@settings(max_examples=30, deadline=None)
def test_the_written_formulas(real: float, fake: float) -> None:
    squares = 0.5 * ((real - 1) ** 2 + fake**2)
    logs = 0.5 * (math.log1p(math.exp(-real)) + math.log1p(math.exp(fake)))
    assert float(tell_apart(verdicts(real), verdicts(fake))) == pytest.approx(squares, rel=1e-4, abs=1e-6)
    assert float(tell_apart(verdicts(real), verdicts(fake), "log")) == pytest.approx(logs, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_gradients(form: str) -> None:
    torch.manual_seed(0)
    real, fake = (torch.randn(2, 1, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda given: fool(given, form), fake)
    assert torch.autograd.gradcheck(lambda one, other: tell_apart(one, other, form), (real, fake))


@pytest.mark.parametrize("form", FORMS)
def test_the_two_pull_the_fakes_apart(form: str) -> None:
    """Where the judged want a higher verdict, the critic wants a lower one."""
    fake = verdicts(0.5).requires_grad_()
    (upwards,) = torch.autograd.grad(fool(fake, form), fake)
    (downwards,) = torch.autograd.grad(tell_apart(verdicts(0.5), fake, form), fake)
    assert bool((upwards < 0).all())
    assert bool((downwards > 0).all())
