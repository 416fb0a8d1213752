"""Messages that the others are made of: see ``v1``."""
