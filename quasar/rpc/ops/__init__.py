"""The services that every process of the platform serves: operations, events, the system itself. Translation only."""
