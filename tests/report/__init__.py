"""Pages and Markdown of scaling studies."""
