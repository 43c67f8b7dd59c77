// Empty: with a file of assembly, Go accepts functions that are linked from its runtime.
