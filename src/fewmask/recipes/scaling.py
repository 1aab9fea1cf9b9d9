"""The published pairs that become -1 and 1, in standard deviations from a volume's own mean, as data.

Chen et al. 2019 and 2020 (SIFA) on cardiac volumes whose brightest 2 % were cut off; the abdominal pairs are not
published but were recovered by a user from the authors' files.
"""

from fewmask.recipe import Scaling

CLIP_TOP_PERCENT = 2.0
"""What SIFA's authors cut off their volumes before taking mean and deviation; they call it important for MR.

0 for volumes that `fewmask convert` or the authors have cut and z-scored already.
"""

CARDIAC_MR = (-1.8, 4.4)
CARDIAC_CT = (-2.8, 3.2)
CARDIAC_CT_RELEASED = (-1.9, 3.0)
"""What the trained MR-to-CT model that the authors gave out expects; they changed the statistics afterwards."""

ABDOMEN_MR = (-1.6471, 5.4715)
ABDOMEN_CT = (-2.0953, 4.4036)

CARDIAC_MR_TO_CT = Scaling("z_score", CARDIAC_MR, CARDIAC_CT)
CARDIAC_MR_TO_CT_RELEASED = Scaling("z_score", CARDIAC_MR, CARDIAC_CT_RELEASED)
CARDIAC_CT_TO_MR = Scaling("z_score", CARDIAC_CT, CARDIAC_MR)
ABDOMEN_MR_TO_CT = Scaling("z_score", ABDOMEN_MR, ABDOMEN_CT)
ABDOMEN_CT_TO_MR = Scaling("z_score", ABDOMEN_CT, ABDOMEN_MR)
"""For volumes that are cut already; for raw ones, `replace(..., clip_top_percent=CLIP_TOP_PERCENT)`."""
