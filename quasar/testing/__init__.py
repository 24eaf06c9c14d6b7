"""Tools for tests, the platform's own and those of plug-in authors: clocks that obey, databases that are there."""
