"""What operators see and do over HTTP: workers, models, the queue, jobs, keys, tenants, and the log of changes."""
