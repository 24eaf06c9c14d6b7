"""The first moments of a plug-in's process: into the jail, before anything else is loaded."""

from __future__ import annotations

import json
import os
import sys
from typing import Final

from quasar.plugins.jail.confinement import confine
from quasar.plugins.jail.posture import PostureItem, to_plain
from quasar.plugins.jail.spec import VARIABLE, Spec

POSTURE_MARK: Final = "quasar-posture "
"""Begins the one line on standard output by which the process says how it is confined; no code of the author's runs
before it."""


def main() -> None:
    """Confine this process, then serve the plug-in until the service ends it."""
    spec = Spec.from_json(os.environ.pop(VARIABLE))
    posture = confine(spec)
    if spec.command:
        from quasar.plugins.host.launch import launch

        launch(spec, posture)
    from quasar.plugins.host.application import run  # loads gRPC and its threads, which are to be in the jail

    run(spec, posture)


def tell_posture(posture: list[PostureItem]) -> None:
    """Say how this process is confined, once."""
    sys.__stdout__ and print(POSTURE_MARK + json.dumps(to_plain(posture)), file=sys.__stdout__, flush=True)
