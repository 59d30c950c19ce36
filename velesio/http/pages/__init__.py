"""What browsers get: pages with their scripts and styles, and how a browser signs in."""
