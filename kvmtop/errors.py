"""What went wrong, in one sentence that a person can act on."""


class KvmtopError(Exception):
    """Its text says what is wrong and what to do; cli prints it on stderr and ends with `status`."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
