"""SIFA's abdominal tables (Chen et al. 2020): MR with masks to CT without, and back.

The papers' figures are recalled from the published tables, see `fewmask.studies.cardiac`; the ceiling's distances
were not at hand.
"""

from fewmask.studies.modalities import Papers, modality_study, printed
from fewmask.studies.table import PaperRow, PublishedStructures, Study

STRUCTURES = ("liver", "right_kidney", "left_kidney", "spleen")

_UNKNOWN = (None,) * len(STRUCTURES)

ABDOMEN: Study = modality_study(
    "abdomen",
    "Another modality: abdomen, MR to CT (SIFA and GLUA)",
    STRUCTURES,
    Papers(
        floor=printed("73.1 47.3 57.3 55.1 58.2", "2.9 5.6 7.7 7.4 5.9"),
        cyclegan=printed("83.4 79.3 79.4 77.3 79.9", "1.8 1.3 1.2 1.9 1.6"),
        output_adversarial=printed("85.4 79.7 79.7 81.7 81.6", "1.7 1.2 1.8 1.6 1.6"),
        sifa=printed("88.0 83.3 80.9 82.6 83.7", "1.2 1.0 1.5 1.6 1.3"),
        ceiling=PublishedStructures((92.8, 86.4, 87.4, 88.2), _UNKNOWN, 88.7),
        others=(
            PaperRow("SynSeg-Net", printed("85.0 82.1 72.7 81.0 80.2", "2.2 1.3 2.1 2.0 1.9")),
            PaperRow("CyCADA", printed("84.5 78.6 80.3 76.9 80.1", "2.6 1.4 1.3 1.9 1.8")),
        ),
    ),
    phantom="abdomen",
)

ABDOMEN_REVERSE: Study = modality_study(
    "abdomen_reverse",
    "Another modality: abdomen, CT to MR (SIFA and GLUA)",
    STRUCTURES,
    Papers(
        floor=printed("48.9 50.9 65.3 65.7 57.7", "4.5 12.3 6.8 4.5 7.0"),
        cyclegan=printed("88.8 87.3 76.8 79.4 83.1", "2.0 3.2 1.9 2.6 2.4"),
        output_adversarial=printed("85.8 89.7 76.3 82.2 83.5", "1.9 1.4 3.0 1.8 2.0"),
        sifa=printed("90.0 89.1 80.2 82.3 85.4", "1.5 0.6 1.5 2.4 1.5"),
        ceiling=PublishedStructures(_UNKNOWN, _UNKNOWN),
        others=(
            PaperRow("SynSeg-Net", printed("87.2 90.2 76.6 79.6 83.4", "2.8 0.7 4.8 2.5 2.7")),
            PaperRow("CyCADA", printed("88.7 89.3 78.1 80.2 84.1", "1.5 1.7 1.3 1.6 1.5")),
        ),
    ),
    phantom="abdomen",
    reverse=True,
)
