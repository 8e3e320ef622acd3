"""From records to findings: speedup, fitted laws, intervals, recommendations. Plain numbers in and out."""
