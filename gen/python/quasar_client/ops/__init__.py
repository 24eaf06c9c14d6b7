"""Typed dataclass messages generated from `proto/` by `make gen`."""
