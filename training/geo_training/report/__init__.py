"""What every page is made of: its frame, charts, tables, and the machine that the metrics come from."""
