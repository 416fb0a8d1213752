"""Pure: how runs are found: Temporal's list filter as values, what its names mean, and the attributes that are kept."""
