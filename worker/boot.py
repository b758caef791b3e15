"""What an instance runs first: fetches the worker named in the configuration, checks it and starts it."""
