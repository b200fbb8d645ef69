"""What cannot be copied says so itself, in words of its own."""

from __future__ import annotations

from typing import Any, NoReturn, SupportsIndex

__all__ = ["NotCopied", "NotPickled"]


class NotPickled:
    """Mixed into what is bound to this process.

    A class says in `_bound_to` what a pickle could not hold.
    """

    __slots__ = ()

    _bound_to = "memory"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled: it is bound to "
            f"{self._bound_to} of this process"
        )


class NotCopied(NotPickled):
    """Mixed into what owns something that there is once.

    A copy would be a second owner, and each would end what the other uses.
    """

    __slots__ = ()

    def __copy__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied: there would be two "
            f"owners of one {self._bound_to}"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        self.__copy__()
