"""From rows in order to verdicts: windows, results, and what a stream's verdicts are held against."""
