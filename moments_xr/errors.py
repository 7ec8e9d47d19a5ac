"""What can be wrong with a request. The shell shows the message in a line and exits with status 2."""


class RequestError(ValueError):
    """What was asked for cannot be: the message names what is wrong and what would be right."""


class RecipeError(RequestError):
    """A recipe breaks a rule: the message names the key, the value and the rule."""


class DataError(RequestError):
    """Input data are missing, damaged or unfit to propagate."""


class StoreError(RequestError):
    """A store is not what was asked for: missing, foreign, of another recipe, or damaged."""


class MissingError(RequestError, LookupError):
    """A cube lacks the piece that was asked for: the message names it."""


class WriteError(RuntimeError):
    """A store could not be written (a full disk, say); what was done before is kept."""
