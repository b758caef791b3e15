"""Why not: what EC2 refuses, quotas, launches that fail, workers that never call, and shortages as they last."""
