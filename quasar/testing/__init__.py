"""Tools for tests, for the platform's own and for those of plug-in authors: clocks that obey, databases that are really there."""
