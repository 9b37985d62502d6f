"""The one declaration of an endpoint: `endpoints/<name>/endpoint.yaml`, checked whole and compiled to the catalog."""
