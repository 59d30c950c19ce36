"""Makes the demo image checkpoint: draws pictures with captions, trains on them, exports and judges the result."""
