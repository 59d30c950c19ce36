"""Inference backends: the plug-in contract (`base`), how plug-ins are found (`plugins`), and those that ship."""
