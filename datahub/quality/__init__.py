"""Quality: what is missing, and what is suspicious in the data that is there."""
