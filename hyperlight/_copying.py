"""Base classes of objects that cannot be copied or pickled."""

from __future__ import annotations

from typing import Any, NoReturn, SupportsIndex

__all__ = ["NotCopied", "NotPickled"]


class NotPickled:
    """Base of classes whose objects are bound to this process.

    `_bound_to` names what a pickle could not hold.
    """

    __slots__ = ()

    _bound_to = "memory"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled: it is bound to "
            f"{self._bound_to} of this process"
        )


class NotCopied(NotPickled):
    """Base of classes whose objects are the only owner of something.

    A copy would be a second owner; each could close what the other uses.
    """

    __slots__ = ()

    def __copy__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied: there would be two "
            f"owners of one {self._bound_to}"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        self.__copy__()
