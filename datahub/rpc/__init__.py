"""The services of the DataHub as callers see them. Translation only."""
