"""The messages of Temporal's API that programs make themselves, under its names."""
