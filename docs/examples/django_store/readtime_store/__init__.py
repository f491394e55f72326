"""A Django app that keeps reading time in the project's own database."""
