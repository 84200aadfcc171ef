"""The operator's page: what goes on, for people in a browser. Rendered here, kept up to date by server-sent events."""
