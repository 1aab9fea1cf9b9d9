"""The report's section on a prognosis: what it says of figures that are known, and that its markup is whole."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from types import SimpleNamespace

import jinja2
import numpy as np
import pytest
from PIL import Image

from fewmask.evaluation.clinical_baseline import Baseline, against
from fewmask.evaluation.naming import Names
from fewmask.evaluation.prognosis_figures import NamedCalibration, write_calibration, write_figures
from fewmask.evaluation.prognosis_record import FixedRate, Held, Level, Prognosis, write_prognosis
from fewmask.evaluation.prognosis_section import prognosis_section
from fewmask.metrics.calibration import calibration_curve, calibration_figures
from fewmask.metrics.prognosis import auc_estimate, decision_figures, decisions, sensitivity_within


def level(rows, unit, baseline):
    told, found = [row.probability for row in rows], [row.outcome == 1 for row in rows]
    patients = [row.patient for row in rows]
    return Level(
        unit,
        len(rows),
        len(set(patients)),
        sum(found),
        auc_estimate(told, found, patients),
        FixedRate(0.1, 0.08, sensitivity_within(told, found, patients)),
        decisions(told, found, 0.45),
        decision_figures(told, found, patients, 0.45),
        calibration_figures(told, found, patients),
        calibration_curve(told, found),
        against(baseline, rows) if baseline else None,
    )


def prognosis(gain, several=True):
    random = np.random.default_rng(0)
    cases = []
    for number in range(40):
        early = number % 4 == 0
        for image in range(2 if several else 1):
            told = float(np.clip(random.normal(0.35 + gain * early, 0.1), 0, 1))
            length = float(random.normal(38 - 6 * early, 5))
            cases.append(Held(f"scan{number}{image}", f"Mrs-{number}", float(early), told, length))
    people = [
        replace(own[0], case=own[0].patient, probability=float(np.mean([row.probability for row in own])))
        for number in range(40)
        for own in [[row for row in cases if row.patient == f"Mrs-{number}"]]
    ]
    baseline = Baseline("cervical_length", True, "lower cervical_length is riskier, as was asked for", {})
    found = Prognosis(
        outcome="delivery_week<37",
        cases=len(cases),
        without_outcome=0,
        threshold=0.45,
        threshold_chosen=True,
        threshold_rule="Youden's",
        validation_cases=31,
        per_case=level(cases, "cases" if several else "patients", baseline),
        per_patient=level(people, "patients", baseline) if several else None,
        remarks=("told of Mrs-7 in /very/private/folder with <b>",),
    )
    return found, cases, people


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not the last one that was opened."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def render(section):
    def source(name):
        return resources.files("fewmask.evaluation").joinpath(name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = SimpleNamespace(prognosis=section)
    markup = environment.get_template("report_prognosis.html.jinja").render(page=page)
    parser = Balanced()
    parser.feed(markup)
    assert not parser.open
    return markup


def section_of(folder, names=None):
    names = names or Names(False, {}, {}, ())
    return prognosis_section(SimpleNamespace(folder=folder), names)


@pytest.mark.parametrize("several", [True, False])
def test_the_page_has_the_figures_the_tables_and_the_pictures(tmp_path, several):
    found, cases, people = prognosis(0.2, several)
    write_prognosis(tmp_path, found, cases)
    write_figures(tmp_path, found, cases, people)
    markup = render(section_of(tmp_path))
    levels = [one for one in (found.per_case, found.per_patient) if one]
    assert markup.count('<caption id="called-') == len(levels) == 1 + several
    assert ("Per patient" in markup) == several
    for one in levels:
        assert (
            f"{one.auc.value:.3f}<small>[{one.auc.interval.low:.3f}, {one.auc.interval.high:.3f}]" in markup
        )
        made = one.decisions
        for count, whole in (
            (made.true_positive, one.with_outcome),
            (made.true_negative, one.n - one.with_outcome),
        ):
            assert f">{count} ({round(100 * count / whole)} %)</td>" in markup
        assert f"{one.baseline.difference.value:+.3f}" in markup
        for part in one.calibration_curve:
            assert f">{part.mean_probability:.3f}</th><td>{part.n}</td><td>{part.with_outcome}</td>" in markup
    assert "Called positive from 0.45 on: Youden&#39;s (31 validation cases)." in markup
    assert "delivery_week&lt;37 in 40 patients, 10 with the outcome" in markup
    assert "Lower cervical_length is riskier, as was asked for." in markup
    photos = re.findall(r'src="data:image/png;base64,([^"]+)"', markup)
    assert [Image.open(io.BytesIO(base64.b64decode(photo))).size for photo in photos] == [(720, 720)] * 2
    assert len(re.findall(r'<img [^>]*alt="[^"]+"', markup)) == 2


def test_names_are_hidden_and_paths_never_stand_on_the_page(tmp_path):
    found, cases, _ = prognosis(0.2)
    write_prognosis(tmp_path, found, cases)
    words = ((re.compile("Mrs-7"), "a patient"),)
    markup = render(section_of(tmp_path, Names(True, {}, {}, words)))
    assert "Told of a patient in a folder with &lt;b&gt;." in markup
    assert "Mrs" not in markup and "private" not in markup and "scan" not in markup
    assert "Told of Mrs-7 in folder with" in render(section_of(tmp_path))
    assert "data:image" not in markup


@pytest.mark.parametrize(("gain", "tone"), [(0.2, "good"), (0.0, "doubt"), (-0.2, "bad")])
def test_the_verdicts_tone_is_whether_chance_lies_outside_of_the_interval(tmp_path, gain, tone):
    found, cases, _ = prognosis(gain)
    write_prognosis(tmp_path, found, cases)
    section = section_of(tmp_path)
    interval = found.people.auc.interval
    assert section.tone == tone
    assert (interval.low > 0.5, interval.high < 0.5) == (tone == "good", tone == "bad")
    assert f'<p class="{tone}"><strong>' in render(section)


def test_without_figures_there_is_no_section(tmp_path):
    assert section_of(tmp_path) is None and render(None).strip() == ""
    found, cases, _ = prognosis(0.2)
    write_prognosis(tmp_path, replace(found, per_case=None, per_patient=None), cases)
    assert section_of(tmp_path) is None


def test_equal_calibrations_make_equal_pictures(tmp_path):
    told = np.linspace(0, 1, 40)
    curve = NamedCalibration("each case", calibration_curve(told, told > 0.5))
    for name in "ab":
        write_calibration(tmp_path / f"{name}.png", [curve], "a_b, $5 patients")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
