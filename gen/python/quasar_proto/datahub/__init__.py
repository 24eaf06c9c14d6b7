"""Messages, stubs and types generated from `proto/` by `make gen`."""
