"""The inside of a plug-in's process: loads one class and serves it. `python -m quasar.plugins.host`, started by a service."""
