"""SIFA's cardiac tables (Chen et al. 2019 and 2020) and GLUA's question: MR with masks to CT without, and back.

The papers' figures are recalled from the published tables and agree with what others quote; they are shown in columns
of their own and are no test of anything.
"""

from fewmask.studies.modalities import Papers, modality_study, printed, printed_mean
from fewmask.studies.table import PaperRow, Study

STRUCTURES = ("AA", "LAC", "LVC", "MYO")
"""The order of the papers' columns: ascending aorta, left atrium cavity, left ventricle cavity, myocardium."""


CARDIAC: Study = modality_study(
    "cardiac",
    "Another modality: heart, MR to CT (SIFA and GLUA)",
    STRUCTURES,
    Papers(
        floor=printed("28.4 27.7 4.0 8.7 17.2", "20.6 16.2 NA 48.4 NA"),
        cyclegan=printed("73.8 75.7 52.3 28.7 57.6", "11.5 13.6 9.2 8.8 10.8"),
        output_adversarial=printed("65.2 76.6 54.4 43.6 59.9", "17.9 5.5 5.9 8.9 9.6"),
        image_only=printed_mean(58.0),
        with_output_critic=printed_mean(65.7),
        sifa_v1=printed("81.1 76.4 75.7 58.7 73.0", "10.6 7.4 6.7 7.8 8.1"),
        sifa=printed("81.3 79.5 73.8 61.6 74.1", "7.9 6.2 5.5 8.5 7.0"),
        ceiling=printed("92.7 91.1 91.9 87.8 90.9", "1.5 3.5 1.7 2.1 2.2"),
        others=(
            PaperRow("DANN", printed("39.0 45.1 28.3 25.7 34.5", "16.2 9.2 12.1 10.1 11.9")),
            PaperRow("ADDA", printed("47.6 60.9 11.2 29.2 37.2", "13.8 10.2 NA 13.4 NA")),
            PaperRow("PnP-AdaNet", printed("74.0 68.9 61.9 50.8 63.9", "12.8 6.3 17.4 14.7 12.8")),
            PaperRow("SynSeg-Net", printed("71.6 69.0 51.6 40.8 58.2", "11.7 7.8 7.0 9.2 8.9")),
            PaperRow("CyCADA", printed("72.9 77.0 62.4 45.3 64.4", "9.6 8.0 9.6 10.5 9.4")),
        ),
    ),
    phantom="cardiac",
)

CARDIAC_REVERSE: Study = modality_study(
    "cardiac_reverse",
    "Another modality: heart, CT to MR (SIFA and GLUA)",
    STRUCTURES,
    Papers(
        floor=printed("5.4 30.2 24.6 2.7 15.7", "15.4 16.8 13.0 10.8 14.0"),
        cyclegan=printed("64.3 30.7 65.0 43.0 50.7", "5.8 9.8 6.0 5.0 6.6"),
        output_adversarial=printed("60.8 39.8 71.5 35.5 51.9", "5.7 8.0 4.6 4.6 5.7"),
        sifa=printed("65.3 62.3 78.9 47.3 63.4", "7.3 7.4 3.8 4.4 5.7"),
        ceiling=printed("82.8 80.5 92.4 78.8 83.6", "3.6 3.9 2.1 1.9 2.9"),
        others=(
            PaperRow("PnP-AdaNet", printed("43.7 47.0 77.7 48.6 54.3", "11.4 14.5 4.5 5.3 8.9")),
            PaperRow("SynSeg-Net", printed("41.3 57.5 63.6 36.5 49.7", "8.6 10.7 5.4 5.9 7.6")),
            PaperRow("CyCADA", printed("60.5 44.0 77.6 47.9 57.5", "7.7 13.9 4.8 5.2 7.9")),
        ),
    ),
    phantom="cardiac",
    reverse=True,
)
