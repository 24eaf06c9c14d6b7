"""Static reading: what can be said about code without running a line of it."""
