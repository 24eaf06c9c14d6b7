"""Back-tests: what is tested, what came of it, and the work between."""
