"""Frame tasks: what each stage computes of one frame; a module imports only what decides the result."""
