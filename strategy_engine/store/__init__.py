"""The StrategyEngine's SQL: statements in `.sql` files, and rows turned into values."""
