"""What can stop a build, each with a message that says what to do.

BuildError
├── SourceError       a pinned package could not be had, or is not what the pin says
└── RecipeError       an endpoint's folder does not hold what a build needs
"""


class BuildError(Exception):
    """A build stopped; the message says what to do."""


class SourceError(BuildError):
    """A pinned package could not be had, or is not what the pin says."""


class RecipeError(BuildError):
    """An endpoint's folder does not hold what a build needs."""
