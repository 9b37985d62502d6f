"""Every port of the domain on AWS: boto3, Powertools, settings and wiring. Decisions live in `headrace`."""
