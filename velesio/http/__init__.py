"""The gateway's HTTP side: one module for each API family, over the job queue."""
