"""The services of the StrategyEngine as callers see them. Translation only."""
