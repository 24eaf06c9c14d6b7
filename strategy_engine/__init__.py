"""The StrategyEngine is about decisions and money: validation, back-tests, instances, orders, policy, portfolio."""
