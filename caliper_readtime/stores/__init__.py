"""Where states live: in memory, or in an SQLite file."""
