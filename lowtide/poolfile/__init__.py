"""The pool file: its schema, its reading, and what it becomes with the facts that EC2 and the price list give."""
