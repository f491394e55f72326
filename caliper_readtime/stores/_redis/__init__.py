"""States in Redis or Valkey."""
