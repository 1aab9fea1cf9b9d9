"""The loop of turns, its run folder, and the rules that choose a checkpoint."""
