from dataclasses import replace

import pytest

from fewmask.data.findings import Range
from fewmask.planning.facts import Facts
from fewmask.planning.routes import choose_route
from fewmask.planning.settings import Settings, settings
from fewmask.recipes.names import RECIPES
from tests.planning.conftest import holding, volumes
from tests.planning.test_routes import gap, pair, tagged


def settled(facts: Facts) -> Settings:
    route = choose_route(facts)
    return settings(facts, route, RECIPES[route.recipe](False), RECIPES[route.recipe](True))


def sides(*lengths: int) -> tuple[Range, ...]:
    return tuple(Range(length, length, length) for length in lengths)


def test_without_a_gpu_the_networks_are_small() -> None:
    assert settled(Facts(masks=holding())).small
    assert not settled(Facts(masks=holding(), cuda=True)).small
    assert settled(Facts(masks=holding(), cuda=True, small=True)).small


def test_hours_decide_between_full_and_small_on_a_gpu() -> None:
    facts = replace(pair(5.9), cuda=True)
    assert not settled(replace(facts, hours=24.0)).small
    short = settled(replace(facts, hours=1.0))
    assert short.small and any("1 hours are at hand" in remark for remark in short.remarks)


def test_a_small_recipe_that_takes_too_long_gets_smaller_images_but_no_translator_does() -> None:
    facts = Facts(masks=holding())
    assert settled(facts).changes == ("size=128",) and settled(facts).minutes == 8
    hurried = settled(replace(facts, hours=0.1))
    assert hurried.changes == () and hurried.minutes == 2 and len(hurried.remarks) == 1
    hasty = settled(replace(pair(5.9), hours=0.1))
    assert hasty.changes == ("size=128",) and any("goes on" in remark for remark in hasty.remarks)


@pytest.mark.parametrize(
    ("lengths", "small", "size"),
    [
        ((36, 51, 36), True, None),  # 64, as the recipe has it
        ((100, 90), True, "size=112"),
        ((256, 256), True, "size=128"),
        ((36, 51, 36), False, "size=64"),
        ((512, 460), False, None),  # 256, as the recipe has it
    ],
)
def test_images_are_prepared_no_finer_than_they_are(
    lengths: tuple[int, ...], small: bool, size: str | None
) -> None:
    made = holding() if len(lengths) == 2 else volumes()
    changes = settled(Facts(masks=replace(made, sides=sides(*lengths)), cuda=not small)).changes
    assert [change for change in changes if change.startswith("size=")] == ([size] if size else [])


def test_few_pictures_are_drawn_less_often_and_in_smaller_batches() -> None:
    few = settled(Facts(masks=holding(outlined=5, train=5, patients=5))).changes
    assert "segmenter.batch=4" in few and "segmenter.steps=400" in few
    assert not any("steps" in change for change in settled(Facts(masks=holding())).changes)


def test_one_patient_is_divided_by_image() -> None:
    assert "split.unit=image" in settled(Facts(masks=volumes(patients=1))).changes
    unknown = volumes(patients=1, patients_known=False)
    assert "split.unit=image" not in settled(Facts(masks=unknown)).changes


def test_volumes_of_two_modalities_are_z_scored_unless_both_are_bytes() -> None:
    ct = volumes("target", "ct", modality="CT", channels=("CT",))
    facts = Facts(source=volumes("source", "mr"), target=ct, gap=gap(9.0))
    assert "scaling.rule=z_score" in settled(facts).changes
    bytes_ = replace(
        facts,
        source=volumes("source", "mr", eight_bit=True),
        target=replace(ct, eight_bit=True),
    )
    assert "scaling.rule=z_score" not in settled(bytes_).changes
    assert "scaling.rule=z_score" not in settled(pair(5.9)).changes


def test_small_sifa_takes_the_steps_that_it_needs_and_tags_their_own_size() -> None:
    ct = volumes("target", "ct", modality="CT", channels=("CT",))
    facts = Facts(source=volumes("source", "mr"), target=ct, gap=gap(9.0))
    assert "steps=2000" in settled(facts).changes
    assert "steps=2000" not in settled(replace(facts, cuda=True)).changes
    assert settled(Facts(tags=tagged())).changes == ()
