"""A database looked after from outside, by whoever runs it: its tables brought up to date, its health examined."""
