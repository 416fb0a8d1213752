"""What programs use beside the core: the names of Temporal's `temporalio.contrib`, as far as it makes sense here."""
