"""The inside of a plug-in's process: loads one class and serves it. Started with `python -m` by a service."""
