"""What goes wrong, in the words that are printed, and the exit statuses.

Problem                one line on stderr, exit status 1
├── ApiProblem         … the API refused: `code: message (request id …)`
├── UnreachableProblem … no answer came, or none that can be read
└── UsageProblem       … the command cannot be meant so; exit status 2
"""

OK = 0
FAILED = 1
"""The API refused, the service cannot be reached, or the batch or job did not come to its good end."""
USAGE = 2
"""The command line itself is wrong; the number is the one that shells' own commands use."""
RECORD_ERRORS = 3
"""The batch is completed, and some of its records are in the errors file."""
INTERRUPTED = 130
"""Ctrl-C: 128 and the signal's number, as shells have it."""


class Problem(Exception):
    """Something that a person is told in one sentence, without a traceback."""

    exit_code = FAILED


class ApiProblem(Problem):
    """The API refused. `status` is HTTP's, `code` the stable one."""

    def __init__(self, *, status: int, code: str, message: str, request_id: str) -> None:
        super().__init__(f"{code}: {message}" + (f" (request id {request_id})" if request_id else ""))
        self.status = status
        self.code = code


class UnreachableProblem(Problem):
    """No answer came: whether anything was done is not known."""


class UsageProblem(Problem):
    """The command line cannot be meant so."""

    exit_code = USAGE


def plain(text: object) -> str:
    """A text from outside, fit for a terminal: what is not printable (escape sequences, line ends) is left out."""
    return "".join(letter for letter in str(text) if letter.isprintable())
