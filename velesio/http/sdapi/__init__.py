"""A1111's API: pictures, what there is to choose from, options, progress, and the routes of its extensions."""
