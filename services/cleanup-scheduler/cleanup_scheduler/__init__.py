"""The one clock: fires schedules exactly once, records their runs, and knows which media are due."""
