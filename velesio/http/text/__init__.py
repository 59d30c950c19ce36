"""What requests for text have in common, whichever family's: their fields, how they are read, and parts of answers."""
