"""The command line `quasar`."""
