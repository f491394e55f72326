"""How events leave: over HTTP to a Caliper endpoint, or into a file of JSON lines."""
