"""Background jobs: `/v1/jobs`, their logs, and the webhooks that tell of their ends."""
