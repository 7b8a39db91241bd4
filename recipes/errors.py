"""Bad input, told to a person in one sentence: the value, the rule, the way out."""


class BadInput(ValueError):
    """Input that a person has to change. Its message is the whole story, so it carries no traceback.

    The cause without a traceback is what Flyte's command line prints in place of its own frames.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.__cause__ = ValueError(message)
