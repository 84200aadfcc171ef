"""The pure core: it is told events and the time and answers with effects. No clock, no dice, no I/O, no logging."""
