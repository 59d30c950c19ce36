"""What a gateway knows of the whole installation, and what Prometheus reads of it."""
