"""What happened: events, the pure rules over them, and the stores that keep them.

A run is an actor with an inbox and a log. A *message* (signal, cancel request, activity outcome, due timer …) is a row
in the inbox; the run's *owner* turns due messages into events, lets workflow code answer with commands, and commits one
*transition*: messages deleted, events appended, tasks and timers inserted, the run's row moved on. All or nothing.

The invariants, each with tests that try to break it:

- I1 An event, once committed, never changes; event ids in a run are 1, 2, 3 … without a gap.
- I2 A run has one writer at a time: every transition checks owner and last event id in its own transaction.
- I3 A message is consumed exactly once: its deletion and the event it became are one transaction.
- I4 An activity outcome in the history is final; a late attempt is refused by its attempt token.
- I5 An acknowledged start, signal or cancel is never lost; one sent again with its request id happens once.
  A run cannot complete over an unread message.
- I6 A due timer fires once, never early by the store's time, as soon as any worker of its queue lives.
- I7 A dead worker's runs and activities move to another worker by themselves.
- I8 A run whose code no longer fits its history is parked with a readable reason, and harms no other run.
- I9 Closed is closed: nothing follows a closing event.

Ground floor: nothing here imports the client, the worker or the authoring modules.
"""
