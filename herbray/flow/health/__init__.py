"""What `herbray doctor` looks at: one module a subject, one small function a check, each a stream of findings."""
