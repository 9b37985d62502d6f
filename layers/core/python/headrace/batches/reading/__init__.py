"""From the bytes of a file to records: formats, lines, columns, and what is wrong with each."""
