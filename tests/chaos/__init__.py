"""Chaos with real processes: workers are killed and stopped, the database restarted, and then everything is audited.

`python -m tests.chaos` runs it by hand.
"""
