"""The demo: a story played in the terminal, or a page to read and to break things in."""

from caliper_readtime._demo.command import add

__all__ = ["add"]
