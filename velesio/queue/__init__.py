"""The queue: all that Velesio does with Redis or Valkey."""
