"""``crash_every_step``: a host's own wiring, with a fault at each of its effects in turn."""
