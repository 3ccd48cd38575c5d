"""Lists without Textual: rows, their selection and order, names to go to."""
