import json
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from fewmask.data.case import Case, Cohort
from fewmask.data.split import (
    SAME_PATIENT,
    Split,
    count_patients,
    divide_cohort,
    read_splits,
    require_disjoint,
    split_cohort,
    within_budget,
    write_splits,
    write_splits_final,
)
from fewmask.errors import InputFault
from fewmask.recipe import SplitConfig


def cohort(root: Path, cases: list[Case], known: bool = True) -> Cohort:
    return Cohort(root, "nnunet", tuple(cases), ("X-ray",), patients_known=known)


def visits(patients: int, each: int = 2, sites: tuple[str | None, ...] = (None,)) -> list[Case]:
    return [
        Case(f"p{i:02}_{k}", (Path(f"p{i:02}_{k}.png"),), patient=f"p{i:02}", site=sites[i % len(sites)])
        for i in range(patients)
        for k in range(each)
    ]


def patients(names: tuple[str, ...]) -> set[str]:
    return {name.split("_")[0] for name in names}


def test_a_patient_is_on_one_side_and_every_case_is_used_once(tmp_path: Path) -> None:
    cases = [*visits(10), Case("t_0", (Path("t.png"),), patient="t", part="test")]
    split = split_cohort(cohort(tmp_path, cases), SplitConfig(), seed=3)
    assert sorted(split.train + split.validation + split.test) == sorted(case.name for case in cases)
    assert not patients(split.train) & patients(split.validation)
    assert len(patients(split.validation)) == 2
    assert split.test == ("t_0",)
    assert split.stratified_by is None
    assert split.remarks == ()


def test_the_order_of_the_files_does_not_matter_and_the_seed_does(tmp_path: Path) -> None:
    cases = visits(30)
    shuffled = cases.copy()
    random.Random(0).shuffle(shuffled)
    one = split_cohort(cohort(tmp_path, cases), SplitConfig(), seed=0)
    assert one == split_cohort(cohort(tmp_path, shuffled), SplitConfig(), seed=0)
    assert one.validation != split_cohort(cohort(tmp_path, cases), SplitConfig(), seed=1).validation


def test_every_patient_is_held_out_about_equally_often(tmp_path: Path) -> None:
    here = cohort(tmp_path, visits(10, each=1))
    times = dict.fromkeys((case.name for case in here.cases), 0)
    for seed in range(300):
        for name in split_cohort(here, SplitConfig(), seed).validation:
            times[name] += 1
    # 600 places among 10 patients: 60 each, with a standard deviation of about 7.
    assert min(times.values()) > 30 and max(times.values()) < 90


def test_sites_are_held_out_in_proportion(tmp_path: Path) -> None:
    cases = visits(40, sites=("north", "south", "north", "north"))
    for seed in range(20):
        split = split_cohort(cohort(tmp_path, cases), SplitConfig(), seed)
        sites = [case.site for case in cases if case.name in split.validation]
        assert (sites.count("north"), sites.count("south")) == (12, 4)
        assert split.stratified_by == "site"


def test_many_small_sites_do_not_change_the_total(tmp_path: Path) -> None:
    cases = visits(10, each=1, sites=tuple("abcdefghij"))
    held = {split_cohort(cohort(tmp_path, cases), SplitConfig(), seed).validation for seed in range(30)}
    assert {len(names) for names in held} == {2}
    assert len(held) > 10


@pytest.mark.parametrize(("count", "share", "held"), [(2, 0.01, 1), (2, 0.99, 1), (3, 0.5, 2), (5, 0.2, 1)])
def test_at_least_one_patient_on_each_side(tmp_path: Path, count: int, share: float, held: int) -> None:
    split = split_cohort(cohort(tmp_path, visits(count)), SplitConfig(validation=share), 0)
    assert len(patients(split.validation)) == held
    assert len(patients(split.train)) == count - held


def test_one_patient_is_refused_with_the_remedy_and_the_remedy_is_marked(tmp_path: Path) -> None:
    one = cohort(tmp_path, visits(1, each=5))
    with pytest.raises(InputFault, match=r"one patient.*--set split\.unit=image"):
        split_cohort(one, SplitConfig(), 0)
    split = split_cohort(one, SplitConfig(unit="image"), 0)
    assert len(split.validation) == 1
    assert SAME_PATIENT in split.remarks


def test_dividing_images_is_marked_only_where_a_patient_is_on_both_sides(tmp_path: Path) -> None:
    split = split_cohort(cohort(tmp_path, visits(6, each=1)), SplitConfig(unit="image"), 0)
    assert split.unit == "image"
    assert SAME_PATIENT not in split.remarks


@pytest.mark.parametrize("cases", [[], visits(1, each=1)])
def test_too_few_cases_are_refused(tmp_path: Path, cases: list[Case]) -> None:
    for unit in ("patient", "image"):
        with pytest.raises(InputFault, match="case"):
            split_cohort(cohort(tmp_path, cases), SplitConfig(unit=unit), 0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, float("nan")])
def test_a_share_outside_0_and_1_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(InputFault, match=r"split\.validation=0\.2"):
        split_cohort(cohort(tmp_path, visits(4)), SplitConfig(validation=share), 0)


def test_a_test_patient_who_also_trains_is_refused_or_marked(tmp_path: Path) -> None:
    cases = visits(4)
    cases[1] = replace(cases[1], part="test")
    with pytest.raises(InputFault, match=r"p00 on both sides.*split\.unit=image"):
        split_cohort(cohort(tmp_path, cases), SplitConfig(), 0)
    split = split_cohort(cohort(tmp_path, cases), SplitConfig(unit="image"), 0)
    assert SAME_PATIENT in split.remarks
    with pytest.raises(InputFault, match=r"p00 on both sides.*cases\.csv"):
        divide_cohort(cohort(tmp_path, cases), 0)


def test_near_duplicates_stay_together_where_patients_are_unknown(tmp_path: Path) -> None:
    cases = [Case(f"c{i}", (Path(f"c{i}.png"),)) for i in range(12)]
    groups = {case.name: f"c{i // 3 * 3}" for i, case in enumerate(cases)}
    for seed in range(10):
        split = split_cohort(cohort(tmp_path, cases, known=False), SplitConfig(), seed, groups)
        assert len({groups[name] for name in split.validation}) == 1
        assert len(split.validation) == 3
        assert any("near-duplicate images stay on one side (4 groups)" in line for line in split.remarks)
    known = split_cohort(cohort(tmp_path, cases, known=True), SplitConfig(), 0, groups)
    assert len(known.validation) == 2
    assert known.remarks == ()


def test_near_duplicates_of_test_images_are_told(tmp_path: Path) -> None:
    cases = [Case(f"c{i}", (Path("c.png"),), part="test" if i > 4 else "train") for i in range(7)]
    groups = {case.name: "c0" if case.name in ("c0", "c5") else case.name for case in cases}
    split = split_cohort(cohort(tmp_path, cases, known=False), SplitConfig(), 0, groups)
    assert "near-duplicate images on both sides (1 groups)" in split.remarks


def fold_file(root: Path, train: list[str], held: list[str]) -> None:
    (root / "splits_final.json").write_text(json.dumps([{"train": train, "val": held}]))


def test_nnunets_fold_is_followed(tmp_path: Path) -> None:
    fold_file(tmp_path, ["p00_0", "p00_1", "p01_0"], ["p02_0"])
    here = cohort(tmp_path, visits(3))
    split = split_cohort(here, SplitConfig(), 7)
    assert (split.train, split.validation) == (("p00_0", "p00_1", "p01_0"), ("p02_0",))
    assert any("fold 0" in line for line in split.remarks)
    assert any("2 training cases are in neither" in line for line in split.remarks)
    assert split_cohort(here, SplitConfig(), 7, whole=False).validation != ("p02_0",)


def test_nnunets_fold_with_a_patient_on_both_sides_is_refused_or_marked(tmp_path: Path) -> None:
    fold_file(tmp_path, ["p00_0", "p01_0"], ["p00_1"])
    here = cohort(tmp_path, visits(2))
    with pytest.raises(InputFault, match=r"nnU-Net divides cases.*p00 on both sides.*split\.unit=image"):
        split_cohort(here, SplitConfig(), 0)
    assert SAME_PATIENT in split_cohort(here, SplitConfig(unit="image"), 0).remarks


@pytest.mark.parametrize(
    ("train", "held", "message"),
    [
        (["p00_0", "x"], ["p01_0"], "x not among the training cases"),
        (["p00_0", "p01_0"], ["p01_0"], "p01_0 is on both sides"),
        (["p00_0"], [], "non-empty"),
    ],
)
def test_a_fold_that_does_not_fit_is_refused(
    tmp_path: Path, train: list[str], held: list[str], message: str
) -> None:
    fold_file(tmp_path, train, held)
    for unit in ("patient", "image"):
        with pytest.raises(InputFault, match=message):
            split_cohort(cohort(tmp_path, visits(2)), SplitConfig(unit=unit), 0)


def test_a_fold_that_is_not_there_and_a_file_that_is_no_list_are_refused(tmp_path: Path) -> None:
    here = cohort(tmp_path, visits(2))
    fold_file(tmp_path, ["p00_0"], ["p01_0"])
    with pytest.raises(InputFault, match=r"no fold 3.*split\.fold=0"):
        split_cohort(here, SplitConfig(fold=3), 0)
    for text in ("{}", "nonsense", "[1]"):
        (tmp_path / "splits_final.json").write_text(text)
        with pytest.raises(InputFault, match=r"splits_final\.json.*remove"):
            split_cohort(here, SplitConfig(), 0)


def test_written_folds_are_read_back_as_the_same_split(tmp_path: Path) -> None:
    here = cohort(tmp_path, visits(8))
    drawn = split_cohort(here, SplitConfig(), 5)
    write_splits_final(tmp_path / "splits_final.json", [drawn])
    followed = split_cohort(here, SplitConfig(), 6)
    assert (followed.train, followed.validation) == (drawn.train, drawn.validation)


def test_a_runs_splits_survive_the_file(tmp_path: Path) -> None:
    one = split_cohort(cohort(tmp_path, visits(4, sites=("a", "b"))), SplitConfig(), 0)
    two = split_cohort(cohort(tmp_path, visits(4), known=False), SplitConfig(unit="image"), 1)
    write_splits(tmp_path / "split.json", [one, two])
    assert read_splits(tmp_path / "split.json") == (one, two)
    with pytest.raises(InputFault, match="no such file"):
        read_splits(tmp_path / "none.json")


def test_disjoint_names_at_most_three_patients() -> None:
    cases = visits(5, each=1)
    require_disjoint(cases[:2], cases[2:], "source and target")
    with pytest.raises(
        InputFault, match=r"^source and target: patient p00, p01, p02 and 2 more on both sides; "
    ):
        require_disjoint(cases, cases, "source and target")


def test_one_folder_is_halved_by_patient_and_site(tmp_path: Path) -> None:
    cases = [*visits(12, sites=("a", "b", "a")), Case("t", (Path("t.png"),), part="test")]
    source, target = divide_cohort(cohort(tmp_path, cases), seed=0)
    assert len(source.cases) == 12 and len(target.part("train")) == 12
    assert sum(case.site == "a" for case in source.cases) == 8
    assert target.part("test") == (cases[-1],) and not source.part("test")
    require_disjoint(source.cases, target.cases, "halves")
    again, _ = divide_cohort(cohort(tmp_path, cases[::-1]), seed=0)
    assert {case.name for case in again.cases} == {case.name for case in source.cases}
    assert "divided by patient" in source.remarks[-1]
    with pytest.raises(InputFault, match="one patient"):
        divide_cohort(cohort(tmp_path, visits(1)), seed=0)


def budgeted(here: Cohort, budget: int | None, seed: int = 0, config: SplitConfig | None = None) -> Split:
    return within_budget(split_cohort(here, config or SplitConfig(), seed), here, budget)


def test_a_budget_takes_patients_from_the_training_side_alone(tmp_path: Path) -> None:
    here = cohort(tmp_path, [*visits(20), Case("t", (Path("t.png"),), part="test")])
    whole = split_cohort(here, SplitConfig(), 1)
    assert budgeted(here, None, 1) == whole
    few = budgeted(here, 5, 1)
    assert (few.validation, few.test, few.stratified_by) == (
        whole.validation,
        whole.test,
        whole.stratified_by,
    )
    assert len(patients(few.train)) == 5 and len(few.train) == 10 and set(few.train) < set(whole.train)
    assert few.remarks == ("trains on 5 of 16 patients (a budget)",)
    assert count_patients(here, few.train, few.unit) == 5


def test_a_smaller_budgets_patients_are_among_a_larger_ones(tmp_path: Path) -> None:
    here = cohort(tmp_path, visits(30, sites=("north", "south", "north")))
    for seed in range(5):
        sides = [set(budgeted(here, budget, seed).train) for budget in (1, 2, 5, 10, 24)]
        assert all(small < large for small, large in pairwise(sides))
    assert budgeted(here, 5, 0).train != budgeted(here, 5, 1).train
    shuffled = replace(here, cases=here.cases[::-1])
    assert budgeted(shuffled, 5, 0).train == budgeted(here, 5, 0).train


def test_every_patient_is_in_a_budget_about_equally_often(tmp_path: Path) -> None:
    here = cohort(tmp_path, visits(10, each=1))
    times = dict.fromkeys((case.name for case in here.cases), 0)
    for seed in range(300):
        for name in budgeted(here, 2, seed).train:
            times[name] += 1
    # As above: 60 each, with a standard deviation of about 7.
    assert min(times.values()) > 30 and max(times.values()) < 90


def test_a_budgets_sites_are_in_proportion(tmp_path: Path) -> None:
    cases = visits(40, each=1, sites=("north", "south", "north", "north"))
    sites = {case.name: case.site for case in cases}
    for budget in (4, 8, 20):
        train = budgeted(cohort(tmp_path, cases), budget).train
        assert sum(sites[name] == "south" for name in train) == budget // 4


def test_the_first_two_patients_of_a_budget_have_either_outcome(tmp_path: Path) -> None:
    cases = visits(40, each=1, sites=("a", "b", "c"))
    here = cohort(tmp_path, cases)
    rare = {case.name: float(place % 10 == 0) for place, case in enumerate(cases)}
    for seed in range(10):
        split = split_cohort(here, SplitConfig(), seed, outcomes=rare)
        found = [
            sum(rare[name] for name in within_budget(split, here, budget, outcomes=rare).train)
            for budget in (1, 2, 3, 20)
        ]
        assert found == [1, 1, 1, 2]


def test_a_budget_above_what_there_is_uses_all_and_says_so(tmp_path: Path) -> None:
    here = cohort(tmp_path, visits(10))
    much = budgeted(here, 50)
    assert much.train == split_cohort(here, SplitConfig(), 0).train
    assert much.remarks == ("trains on all 8 patients: its budget of 50 is more than there are",)


def test_a_budget_counts_near_duplicates_once_and_images_where_those_are_divided(tmp_path: Path) -> None:
    cases = [Case(f"c{i:02}", (Path(f"c{i}.png"),)) for i in range(12)]
    groups = {case.name: f"c{i // 3 * 3:02}" for i, case in enumerate(cases)}
    here = cohort(tmp_path, cases, known=False)
    split = within_budget(split_cohort(here, SplitConfig(), 0, groups), here, 2, groups)
    assert len(split.train) == 6 and len({groups[name] for name in split.train}) == 2
    assert count_patients(here, split.train, split.unit, groups) == 2
    images = budgeted(cohort(tmp_path, visits(5)), 3, config=SplitConfig(unit="image"))
    assert len(images.train) == 3 and "trains on 3 of 8 images (a budget)" in images.remarks
