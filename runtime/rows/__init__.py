"""What a row is and where it comes from: the cells of its columns, CSV, JSON and times."""
