"""The platform on a laptop: one supervisor, loopback only, no account, no Docker.

Where things are, in the order a request meets them::

    front.py              HTTP in, a REST proxy event, authorizer, function, HTTP out
    lambda_host.py        a pool of official awslambdaric processes per function
    sagemaker_runtime.py  InvokeEndpoint over the real serving processes, with faults on demand
    serving_pool.py       one ``python -m endpoints.serving serve`` per variant
    moto_server.py        every other AWS service (moto, with the mends of moto_*.py, and faults on demand)
    machines.py           the state machine's own file, with this platform's names
    transform.py          transform jobs over the serving processes
    queues.py             queues, and the functions that they invoke
    stack.py              starts all of the above in order and stops them in reverse
    __main__.py           ``up``, ``down``, ``status``, ``fault`` and ``replay``
"""
