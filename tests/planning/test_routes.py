from dataclasses import replace

import pytest

from fewmask.data.gap import Gap
from fewmask.errors import InputFault
from fewmask.planning.cautions import cautions, helps
from fewmask.planning.facts import Facts
from fewmask.planning.labels import OutcomeSeen, TagsSeen
from fewmask.planning.routes import choose_route
from fewmask.recipes.names import RECIPES
from tests.planning.conftest import holding, volumes


def gap(intensity: float, texture: float = 1.0, size: float | None = 1.0) -> Gap:
    return Gap(intensity, texture, None, size, "")


def pair(intensity: float, **changes: object) -> Facts:
    return Facts(source=holding("source", "a"), target=holding("target", "b", **changes), gap=gap(intensity))


def tagged(positive: int = 40, slices: int = 100, **changes: object) -> object:
    return volumes("tags", "t", tags=TagsSeen("brain", ("brain",), slices, positive, 20), **changes)


MALIGNANT = OutcomeSeen("malignant", "malignant", "malignant==1", 80, 25, 25)


def test_masks_alone_are_learnt_as_they_are() -> None:
    route = choose_route(Facts(masks=holding()))
    assert route.recipe == "supervised" and route.floor is None and route.segments is None


def test_a_source_without_a_target_is_a_labelled_cohort() -> None:
    route = choose_route(Facts(source=holding("source")))
    assert route.recipe == "supervised" and route.reads == (holding("source"),)


def test_masks_and_an_outcome_are_learnt_together_and_the_price_is_said() -> None:
    route = choose_route(Facts(masks=holding(), outcome=MALIGNANT))
    assert route.recipe == "joint"
    assert any("costs outlines" in reason for reason in route.reasons)
    assert [other.recipe for other in route.alternatives] == ["supervised", "markers"]


def test_masks_beside_tags_are_the_better_teacher() -> None:
    both = holding(tags=TagsSeen("lung", ("lung",), 10, 5, 5))
    route = choose_route(Facts(masks=both))
    assert route.recipe == "supervised" and "better teacher" in route.reasons[1]
    assert [other.recipe for other in route.alternatives] == ["umcam"]


def test_a_small_or_medium_gap_is_left_to_augmentation() -> None:
    for intensity in (1.0, 2.1):
        route = choose_route(pair(intensity))
        assert route.recipe == "supervised" and route.segments is not None
        assert [holding_.role for holding_ in route.reads] == ["source"]
        assert "cyclegan" in [other.recipe for other in route.alternatives]


def test_a_large_gap_between_pictures_is_re_drawn_and_both_folders_are_read() -> None:
    route = choose_route(pair(5.9))
    assert route.recipe == "cyclegan" and len(route.reads) == 2
    assert route.floor is not None and route.floor.recipe == "supervised"
    assert "msl" in [other.recipe for other in route.alternatives]


def test_a_dark_ground_and_a_bright_one_are_named() -> None:
    facts = pair(5.9, ground=0.95)
    facts = replace(facts, source=holding("source", "a", ground=0.05))
    assert any("dark ground" in reason for reason in choose_route(facts).reasons)
    assert not any("dark ground" in reason for reason in choose_route(pair(5.9)).reasons)


def test_texture_alone_can_make_a_large_gap() -> None:
    facts = replace(pair(1.0), gap=gap(1.0, texture=4.0))
    assert choose_route(facts).recipe == "cyclegan"


@pytest.mark.parametrize("measured", [1.1, 9.0])
def test_volumes_of_another_modality_go_to_sifa(measured: float) -> None:
    facts = Facts(
        source=volumes("source", "mr"),
        target=volumes("target", "ct", channels=("CT",), modality="CT"),
        gap=gap(measured),
    )
    route = choose_route(facts)
    assert route.recipe == "sifa" and route.changes == ("choose=ensemble",)
    assert {"glua", "cyclegan_train_on_translated"} == {other.recipe for other in route.alternatives}


def test_volumes_of_one_modality_and_a_small_gap_need_no_adaptation() -> None:
    facts = Facts(source=volumes("source", "a"), target=volumes("target", "b"), gap=gap(1.2))
    assert choose_route(facts).recipe == "supervised"


def test_two_channels_of_the_same_patients_are_told_that_the_masks_fit_both() -> None:
    flair = volumes("source", "lgg", channel="FLAIR", channels=("FLAIR",))
    t1 = volumes("target", "lgg", channel="T1", channels=("T1",), masks_beside=True)
    facts = Facts(source=flair, target=t1, gap=gap(1.2))
    route = choose_route(facts)
    assert route.recipe == "sifa" and any("same patients on one grid" in reason for reason in route.reasons)
    assert facts.level == "unseen" and any("stay closed" in line for line in cautions(facts, route))


def test_one_folder_needs_two_channels() -> None:
    for channels in ((None, None), ("FLAIR", "FLAIR")):
        source, target = (
            volumes(role, "lgg", channel=channel, channels=("FLAIR",) if channel else ("FLAIR", "T1"))
            for role, channel in zip(("source", "target"), channels, strict=True)
        )
        with pytest.raises(InputFault, match="--source-channel and --target-channel"):
            choose_route(Facts(source=source, target=target, gap=gap(0.0)))


@pytest.mark.parametrize("train", [1, 9])
def test_a_target_of_few_images_has_no_look_to_learn(train: int) -> None:
    facts = pair(9.0, train=train)
    route = choose_route(facts)
    assert route.recipe == "supervised" and "too few" in route.reasons[0]
    assert any("fewer than 10" in line for line in cautions(facts, route))


def test_pictures_and_volumes_are_no_pair() -> None:
    with pytest.raises(InputFault, match="no method carries masks"):
        choose_route(Facts(source=holding("source", "a"), target=volumes("target", "b"), gap=gap(9.0)))


def test_other_structures_are_refused_by_the_names_that_the_target_declares() -> None:
    with pytest.raises(InputFault, match=r"its classes \(heart\) are not those .* \(lung\)"):
        choose_route(pair(1.0, classes=("background", "heart")))
    assert choose_route(pair(1.0, classes=("Background", "Lung"))).recipe == "supervised"
    assert choose_route(pair(1.0, classes=())).recipe == "supervised"


def test_a_source_without_masks_teaches_nothing() -> None:
    bare = replace(pair(1.0), source=holding("source", "a", outlined=0))
    with pytest.raises(InputFault, match="nothing to learn from"):
        choose_route(bare)


def test_few_masks_of_the_target_are_mixed_with_the_source() -> None:
    few = holding("masks", "b", outlined=5, train=5, patients=5)
    facts = Facts(source=holding("source", "a"), masks=few)
    route = choose_route(facts)
    assert route.recipe == "supervised" and [h.role for h in route.reads] == ["source", "masks"]
    assert "few-shot" in route.summary
    with_target = replace(facts, target=holding("target", "c"))
    told = choose_route(with_target)
    assert told.reads == route.reads and told.segments == with_target.target


def test_masks_beside_another_hospitals_images_are_a_source() -> None:
    facts = Facts(masks=holding("masks", "a"), target=holding("target", "b"), gap=gap(5.0))
    route = choose_route(facts)
    assert route.recipe == "cyclegan" and [h.role for h in route.reads] == ["source", "target"]


def test_masks_and_target_in_one_folder_are_learnt_from() -> None:
    route = choose_route(Facts(masks=holding("masks", "a"), target=holding("target", "a"), gap=gap(0.0)))
    assert route.recipe == "supervised" and [h.role for h in route.reads] == ["masks"]


def test_tags_alone_go_to_umcam_and_its_masks_are_called_seeds() -> None:
    facts = Facts(tags=tagged())
    route = choose_route(facts)
    assert route.recipe == "umcam" and any("seeds, not outlines" in reason for reason in route.reasons)
    assert any("both kinds" in line for line in helps(facts, route))
    assert route.ceiling is None
    assert choose_route(Facts(tags=tagged(masks_beside=True))).ceiling is not None


def test_tags_beside_masks_yield_to_five_of_them() -> None:
    for outlined, recipe in ((4, "umcam"), (5, "supervised")):
        masks = volumes("masks", "m", outlined=outlined)
        assert choose_route(Facts(tags=tagged(), masks=masks)).recipe == recipe


def test_tags_of_the_target_beat_masks_of_another_modality_but_not_of_the_same() -> None:
    target = volumes("target", "t", modality="CT", channels=("CT",))
    facts = Facts(source=volumes("source", "s"), target=target, tags=tagged(), gap=gap(9.0))
    assert choose_route(facts).recipe == "umcam"
    same = replace(facts, target=volumes("target", "t"), gap=gap(1.0))
    assert choose_route(same).recipe == "supervised"


def test_tags_of_one_kind_can_teach_nothing() -> None:
    for positive in (0, 100):
        with pytest.raises(InputFault, match="needs both"):
            choose_route(Facts(tags=tagged(positive=positive)))


def test_nothing_to_learn_from_names_what_lies_there() -> None:
    with pytest.raises(InputFault, match="nothing to learn from"):
        choose_route(Facts(target=holding("target")))
    with pytest.raises(InputFault, match="give it as --tags"):
        choose_route(Facts(target=holding("target", tags=TagsSeen("lung", ("lung",), 10, 5, 5))))
    with pytest.raises(InputFault, match="give it as --masks"):
        choose_route(Facts(target=holding("target", masks_beside=True)))
    with pytest.raises(InputFault, match="nothing to learn from"):
        choose_route(Facts(masks=holding(outlined=0)))


def test_the_state_of_a_folder_is_warned_of() -> None:
    spoilt = volumes(
        patients=1, unit="px", test=0, brightness_ratio=40.0, outlined=20, faults=("NaN or infinite values",)
    )
    facts = Facts(masks=spoilt, notes=("a note",))
    told = "\n".join(cautions(facts, choose_route(facts)))
    for needle in (
        "a note",
        "one patient",
        "spacing unknown",
        "no test part",
        "40-fold",
        "10 of 30 training images",
        "NaN",
    ):
        assert needle in told, needle
    sound = Facts(masks=holding())
    assert cautions(sound, choose_route(sound)) == ()


def test_few_patients_with_the_outcome_are_warned_of() -> None:
    rare = Facts(masks=holding(), outcome=replace(MALIGNANT, positive=8, patients=8))
    assert any("wanders" in line for line in cautions(rare, choose_route(rare)))
    many = Facts(masks=holding(), outcome=MALIGNANT)
    assert not any("wanders" in line for line in cautions(many, choose_route(many)))


def test_every_recipe_that_is_advised_exists() -> None:
    for facts in (
        Facts(masks=holding()),
        Facts(masks=holding(), outcome=MALIGNANT),
        Facts(tags=tagged()),
        pair(1.0),
        pair(5.0),
        Facts(source=volumes("source", "a"), target=volumes("target", "b", modality="CT"), gap=gap(2.0)),
    ):
        route = choose_route(facts)
        others = (*route.alternatives, *(other for other in (route.floor, route.ceiling) if other))
        assert {route.recipe, *(other.recipe for other in others)} <= set(RECIPES)
