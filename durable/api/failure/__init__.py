"""Failures: see ``v1``."""
