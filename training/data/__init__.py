"""From files to inputs: loading, the treatment of columns, the split."""
