"""Live data: feeds of providers, bars from ticks, prices, and their storage."""
