"""How fast it is: W1 to W6, replay, parked runs, and a floor; `python -m tests.benchmarks --help`."""
