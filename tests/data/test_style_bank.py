"""Styles in groups, and the ones that are drawn from them."""

import numpy as np

from fewmask.data.style_bank import middle, style_bank


def codes_of(centres: list[float], each: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([centre + 0.01 * rng.standard_normal((each, 8)) for centre in centres])


def test_alike_styles_come_into_one_group() -> None:
    centres = [-5.0, -3.0, -1.0, 1.0, 3.0, 5.0]
    bank = style_bank(codes_of(centres, 7), 6, seed=9)
    assert sorted(round(float(group.mean())) for group in bank.groups) == centres
    assert [len(group) for group in bank.groups] == [7] * 6
    assert all(group.std() < 0.1 for group in bank.groups)


def test_a_draw_is_a_member_of_its_group_and_the_same_every_time() -> None:
    codes = codes_of([-2.0, 0.0, 2.0], 20)
    bank, again = (style_bank(codes, 3, seed=9) for _ in range(2))
    for case in range(5):
        for copy in range(3):
            drawn = bank.draw(case, copy)
            assert any(np.array_equal(drawn, member) for member in bank.groups[copy])
            assert np.array_equal(drawn, again.draw(case, copy))
    assert len({tuple(bank.draw(case, 0)) for case in range(20)}) > 5
    other = style_bank(codes, 3, seed=10)
    assert any(not np.array_equal(bank.draw(case, 0), other.draw(case, 0)) for case in range(5))


def test_few_styles_make_few_groups_that_come_round_again() -> None:
    codes = np.repeat(np.array([[0.0] * 8, [1.0] * 8]), 3, axis=0)
    bank = style_bank(codes, 6, seed=9)
    assert len(bank.groups) == 2
    assert np.array_equal(bank.draw(0, 0), bank.draw(0, 2))
    assert len(style_bank(codes[:1], 6, seed=9).groups) == 1


def test_the_middle_of_a_volume() -> None:
    assert list(range(18))[middle(18)] == list(range(3, 15))
    assert list(range(1))[middle(1)] == [0]
    assert list(range(5))[middle(5)] == list(range(5))
