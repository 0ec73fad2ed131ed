"""What is hardly ever true of a sound log: named warnings on the rows that models learn from."""
