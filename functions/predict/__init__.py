"""The gateway's one function: validation, routing and the fallback ladder behind stable routes."""
