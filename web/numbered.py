"""Numbered pages, as clients of operators ask for them: which one, and how long.

What they send that is no number, or less than 1, counts as not sent (operations contract, section 2).
"""

from typing import Final, NamedTuple

from aiohttp import web

from web.described.operations import TEXT, Parameter

LONGEST: Final = 9
"""Digits of a number that is read; longer ones count as not sent."""


class NumberedPage(NamedTuple):
    """A page of a list.

    Attributes:
        number: From 1.
        size: How many entries it has, unless it is the last one.
    """

    number: int
    size: int

    @property
    def offset(self) -> int:
        """How many entries are on the pages before it."""
        return (self.number - 1) * self.size


def page_of(request: web.Request, *, size: int, most: int) -> NumberedPage:
    """The page that a request asks for.

    Args:
        size: Of pages, unless it asks for another size.
        most: The greatest size.
    """
    return NumberedPage(_number(request, "page", 1), min(_number(request, "page_size", size), most))


def _number(request: web.Request, name: str, otherwise: int) -> int:
    given = request.query.get(name, "")
    if not (given.isascii() and given.isdecimal() and len(given) <= LONGEST):
        return otherwise
    return int(given) or otherwise


def page_parameters(*, size: int, most: int) -> tuple[Parameter, ...]:
    """What a caller may send to ask for a page."""
    about = f"Entries on a page, {size} unless said otherwise, and {most} at most"
    return (
        Parameter(
            name="page", where="query", about="Which page, from 1", schema=TEXT, component="page-number"
        ),
        Parameter(name="page_size", where="query", about=about, schema=TEXT, component=f"page-size-{most}"),
    )
