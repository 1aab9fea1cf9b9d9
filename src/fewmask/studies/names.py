"""Every study that `fewmask study` knows by name."""

from fewmask.studies.placenta import PLACENTA
from fewmask.studies.table import Study

STUDIES: dict[str, Study] = {study.name: study for study in (PLACENTA,)}
