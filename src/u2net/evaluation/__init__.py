"""Maps against ground truth: data sets, scores, reports, and what is wrong with data."""
