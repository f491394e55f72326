"""Where states live: in memory, in an SQLite file, or in Redis."""
