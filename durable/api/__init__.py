"""The names of Temporal's `temporalio.api`, as far as programs need them: plain values, no messages of a protocol."""
