"""Tables of several runs: a method between its floor and its ceiling."""
