"""What makes training faster without changing what is learned."""
