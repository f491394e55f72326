"""States in one SQLite file that the processes of one machine share."""
