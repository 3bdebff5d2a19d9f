"""The error of this package."""


class PresetError(ValueError):
    """A preset that cannot be used; the message says why and what to do.

    Args:
        message: one sentence.
        unreachable: whether the preset may well exist, but could not be fetched now.
    """

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable
