"""Code of strategies as the registry stores it."""
