"""SQL of tokens, operations and events."""
