"""Headrace's domain: decisions and values only.

Nothing here opens a socket, reads the environment or looks at a clock; ports are declared where they are used and
arrive as arguments, so that the same code runs in Lambda, on a laptop and on virtual time. The one exception is
`headrace.declaration.files`, the compiler that reads `endpoints/*/endpoint.yaml` before anything is deployed.
"""
