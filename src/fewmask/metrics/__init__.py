"""Scores of masks against masks: pure arrays, and one rule for empty masks."""
