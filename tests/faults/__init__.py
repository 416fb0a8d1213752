"""A test for each line of the list of faults that real systems had; its name begins with the line's number."""
