"""The monitoring stack: rules, dashboards, and all of it together on real metrics."""
