"""Recipes: functions that return everything that decides a run."""
