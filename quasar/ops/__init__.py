"""What every service keeps of its own running: tokens, operations, events."""
