"""Who asks, what for, how much and from where: keys, scopes, limits, priorities, and what browsers are told of it."""
