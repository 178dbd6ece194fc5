"""Linear probes: multinomial logistic regression, many fits in one program, on a GPU if there is one."""
