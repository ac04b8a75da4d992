"""Dashboards: one table of what an operator looks at, and the formats that it is written in."""
