"""The rows of the fault matrix, one module a family; `tests.fault.row.load_rows` imports them all."""
