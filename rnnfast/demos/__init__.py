"""Demonstrations on the command line: a network that writes, one that forecasts, one that reads digits."""
