"""What `lowtide doctor` looks at: whether the account, the stack and each pool can launch what they should."""
