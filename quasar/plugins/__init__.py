"""Running code that is not ours: each class in a process of its own, in a jail, behind `quasar.plugin.v1`."""
