"""The recipes of the how-to pages, run exactly as they are written there."""
