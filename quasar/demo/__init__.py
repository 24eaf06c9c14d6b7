"""`quasar demo`: fills a running platform with a simulated market and one paper strategy, by its public calls only."""
