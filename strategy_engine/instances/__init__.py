"""Strategies that trade on live data: what is to run, what runs, and what it told."""
