"""Workers that are killed at random moments, one after another, each replaced at once."""

from __future__ import annotations

import random
import time

from tests.concurrency.children import Child

WORKERS = 4


class KilledWorkers:
    """Workers in the role ``killed``; every one of them writes notes of its own in the folder."""

    def __init__(self, folder, *roles, **more):
        self.notes = []
        self.kills = 0
        self._folder = folder
        self._roles = roles
        self._more = more
        self._alive = []

    def _start(self):
        self.notes.append(self._folder / f"notes{len(self.notes)}")
        self._alive.append(Child("killed", *self._roles, **self._more, notes=self.notes[-1], seed=len(self.notes)))

    def die(self, goes_on, meanwhile=lambda: None):
        """Die one by one while ``goes_on()`` says so, each after ``meanwhile()``; then the others end by themselves."""
        dice = random.Random()
        try:
            for _ in range(WORKERS):
                self._start()
            while goes_on():
                victim = self._alive[0]  # the oldest: it has had time to get to work
                victim.expect("ready")
                time.sleep(dice.uniform(0.02, 0.4))  # the moment of death is what is random here
                meanwhile()
                victim.kill()
                victim.end()
                self._alive.remove(victim)
                self.kills += 1
                self._start()
            for worker in self._alive:
                worker.expect("ready")
                assert worker.result() == "stopped"
        finally:
            for worker in self._alive:
                worker.end()
