"""Measurements: each figure stands beside a peer or a limit that was measured in the same run."""

from __future__ import annotations

import os

# Plug-ins are started by fork and exec while gRPC has threads, as in a service, which sets this too. gRPC reads it when
# it is loaded.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
