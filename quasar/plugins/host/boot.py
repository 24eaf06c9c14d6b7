"""The first moments of a plug-in's process: into the jail, before anything else is loaded."""

from __future__ import annotations

import os

from quasar.plugins.jail.confinement import confine
from quasar.plugins.jail.spec import VARIABLE, Spec


def main() -> None:
    """Confine this process, then serve the plug-in until the service ends it."""
    spec = Spec.from_json(os.environ.pop(VARIABLE))
    posture = confine(spec)
    if spec.command:
        from quasar.plugins.host.launch import launch

        launch(spec, posture)
    from quasar.plugins.host.application import run  # loads gRPC and its threads, which are to be in the jail

    run(spec, posture)
