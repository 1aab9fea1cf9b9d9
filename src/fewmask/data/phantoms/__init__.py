"""Drawn cohorts, so that every verb can be tried without anybody's images."""
