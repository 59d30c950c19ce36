"""Other job queues, one module each: its task, its worker's command, one round trip. Each runs in a venv of its own."""
