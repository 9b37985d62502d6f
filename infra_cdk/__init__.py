"""The platform as CloudFormation, synthesised from the declarations without Docker and without an account.

`app.py` builds the two stacks of a stage: `platform_stack.py` (gateway, functions, tables, buckets) and
`endpoints_stack.py` (one SageMaker endpoint per declaration). They are two because the artifacts must be in their
bucket before an endpoint can be created, and because a rollback of one must not undo the other.
"""
