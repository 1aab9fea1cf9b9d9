"""By the labels that a user owns: which route fits, why, and the recipe that takes it."""
