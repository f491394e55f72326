"""A host's code that is never run: type checkers read it, and a test that no public name is missing from it."""
