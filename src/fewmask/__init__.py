"""Train a medical-image segmenter when you have few masks, or none."""

__version__ = "0.1.0"
