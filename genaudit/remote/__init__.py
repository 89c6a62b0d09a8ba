"""Files that lie elsewhere: fetched once, verified, kept by their content, and read like any other stranger's file."""
