"""What carries published entries beyond one process: a journal on disk, or a bus between replicas."""
