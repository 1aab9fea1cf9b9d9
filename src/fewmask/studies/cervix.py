"""Segmentation and prognosis together: the tables of Wlodarczyk et al. 2020, on ultrasound of the cervix."""

from fewmask.recipes import cervix
from fewmask.studies.table import PublishedJoint, Row, Study

SUBJECT, UNET = "joint", "joint_without_outcome"

CERVIX = Study(
    "cervix",
    "One network, two answers: the cervix's outline and preterm birth (joint U-Net)",
    (
        Row(
            UNET,
            "U-Net",
            cervix.joint_without_outcome,
            "target",
            paper=PublishedJoint(iou=((0.975, 0.041), (0.921, 0.042), (0.913, 0.041))),
        ),
        Row(
            "fcn",
            "FCN",
            cervix.fcn,
            "target",
            paper=PublishedJoint(iou=((0.848, 0.062), (0.770, 0.023), (0.755, 0.042))),
        ),
        Row(
            "deeplabv3",
            "DeepLabv3",
            cervix.deeplabv3,
            "target",
            paper=PublishedJoint(iou=((0.813, 0.056), (0.791, 0.086), (0.756, 0.087))),
        ),
        Row("joint_without_masks", "Outcome alone", cervix.joint_without_masks, "target"),
        Row(
            "markers",
            "Masks, then markers",
            cervix.markers,
            "target",
            UNET,
            paper=PublishedJoint(
                iou=(None, None, (0.91, None)),
                recall=(None, None, (0.596, None)),
                precision=(None, None, (0.659, None)),
                auc=(None, None, (0.78, None)),
            ),
        ),
        Row("joint_weighted", "Joint U-Net, weighted, not balanced", cervix.joint_weighted, "target"),
        Row(
            SUBJECT,
            "Joint U-Net",
            cervix.joint,
            "target",
            paper=PublishedJoint(
                iou=((0.972, 0.047), (0.925, 0.072), (0.923, 0.081)),
                recall=((0.781, 0.092), (0.698, 0.023), (0.677, 0.042)),
                precision=((0.772, 0.096), (0.698, 0.086), (0.683, 0.087)),
                auc=((0.782, 0.108), (0.757, 0.156), (0.723, 0.134)),
            ),
        ),
    ),
    floor=UNET,
    ceiling=UNET,
    subject=SUBJECT,
    phantom="cervix",
    outcome="preterm",
    phantom_size=96,
)
