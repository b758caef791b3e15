"""The report: what a deployment did in a period, as a document (collect) and as one HTML page (page)."""
