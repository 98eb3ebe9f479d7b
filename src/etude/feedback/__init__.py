"""What people say of answers: labelled, read, measured, added up, and made into rows to learn from."""
