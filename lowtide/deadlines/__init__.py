"""The deadline game in bulk: runs read from a file, played by a policy or by the optimum, and scored."""
