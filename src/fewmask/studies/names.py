"""Every study that `fewmask study` knows by name."""

from fewmask.studies.abdomen import ABDOMEN, ABDOMEN_REVERSE
from fewmask.studies.budget import BUDGET
from fewmask.studies.cardiac import CARDIAC, CARDIAC_REVERSE
from fewmask.studies.cervix import CERVIX
from fewmask.studies.fetal_brain import FETAL_BRAIN
from fewmask.studies.placenta import PLACENTA
from fewmask.studies.selection import SELECTION
from fewmask.studies.table import Study

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        PLACENTA,
        CARDIAC,
        CARDIAC_REVERSE,
        ABDOMEN,
        ABDOMEN_REVERSE,
        FETAL_BRAIN,
        CERVIX,
        SELECTION,
        BUDGET,
    )
}
