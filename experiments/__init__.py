"""One script, one claim; each imports bandjax only and writes its numbers with their provenance."""
