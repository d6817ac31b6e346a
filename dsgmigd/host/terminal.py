"""Text for a terminal, a log or a record: names in it cannot control what shows it, or fill it.

Pure rules.

Raises: nothing.
"""


def printable(text: str) -> str:
    """Return `text` with backslash escapes for control characters, and whatever else is not shown.

    That includes line breaks, marks that reverse the direction of writing, and lone surrogates.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def shown(text: str, encoding: str) -> str:
    """Return lines of text as a stream of that encoding can show them; the breaks stay.

    Names in the lines go through `printable` before, or a line break in one begins a line.
    """
    lines = "\n".join(map(printable, text.split("\n")))
    return lines.encode(encoding, "backslashreplace").decode(encoding)


def shortened(text: str, characters: int) -> str:
    """Return `text`, or the beginning of it and how many more characters it has.

    The result has at most `characters`, which must be more than that remark.
    """
    if len(text) <= characters:
        return text
    remark = f"… ({len(text)} characters in all)"
    return text[: characters - len(remark)] + remark
