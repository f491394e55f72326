"""What an article page needs: the browser's script, page tickets, signals, and adapters for web frameworks."""
