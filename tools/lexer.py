"""Extracts texts from source files: comments, string literals and, for Rust, the tokens around them.

A text keeps the line breaks of its file, so that a position in it determines the line. The rules are in check-language.
"""

import bisect
import io
import re
import tokenize
from typing import NamedTuple


class Text(NamedTuple):
    """One comment (adjacent comment lines are one), string literal, page, or line of data."""

    kind: str  # "comment", "message", "page" or "data"
    line: int
    body: str

    def line_of(self, position):
        """Returns the file's line for a position in the body."""
        return self.line + self.body.count("\n", 0, position)


class Token(NamedTuple):
    """A token other than white space and comments."""

    kind: str  # "ident", "string", "bytes" or "punct"
    line: int
    body: str


RUST = re.compile(
    r"""
      (?P<comment>//[^\n]*)
    | (?P<block>/\*)
    | (?P<raw>(?P<rawkind>[bc]?)r(?P<hashes>\#*)"(?P<rawbody>.*?)"(?P=hashes))
    | (?P<string>(?P<kind>[bc]?)"(?P<body>(?:[^"\\]|\\.)*)")
    | (?P<char>b?'(?:[^'\\\n]|\\u\{[^}]*\}|\\x..|\\.)')
    | (?P<lifetime>'[A-Za-z_]\w*)
    | (?P<ident>(?:r\#)?[A-Za-z_]\w*)
    | (?P<number>\d\w*)
    | (?P<space>\s+)
    | (?P<punct>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def lines_of(source):
    """Returns a function that maps a position in `source` to its line, counted from 1."""
    starts = [match.end() for match in re.finditer("\n", source)]
    return lambda position: bisect.bisect_right(starts, position) + 1


def block_end(source, start):
    """Returns the end of the block comment at `start`; Rust's block comments nest."""
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(source, start):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    return len(source)


def rust(source):
    """Returns the texts and tokens of a Rust file."""
    comments, messages, tokens = [], [], []
    line, position = lines_of(source), 0
    while position < len(source):
        match = RUST.match(source, position)
        start, position = position, match.end()
        kind = match.lastgroup
        if match.group("comment"):
            comments.append((line(start), re.sub(r"^//[/!]?", "", match.group())))
        elif match.group("block"):
            position = block_end(source, start)
            comments.append((line(start), re.sub(r"(?m)^[ \t]*\*+(?!/)|/\*+!?|\*+/", "", source[start:position])))
        elif match.group("raw") is not None or match.group("string") is not None:
            body = match.group("rawbody") if match.group("raw") is not None else match.group("body")
            prefix = match.group("rawkind") or match.group("kind") or ""
            # A backslash at a line's end joins the lines.
            body = body.replace("\\\n", " \n")
            tokens.append(Token("bytes" if prefix == "b" else "string", line(start), body))
            if prefix != "b":
                messages.append(Text("message", line(start), body))
        elif kind in ("ident", "punct"):
            tokens.append(Token(kind, line(start), match.group().removeprefix("r#")))
    return joined(comments) + messages, tokens


def joined(comments):
    """Joins comments on adjacent lines, so that a phrase may continue on the next line."""
    texts = []
    for line, body in comments:
        last = texts[-1] if texts else None
        if last and last.line + last.body.count("\n") + 1 == line:
            texts[-1] = last._replace(body=f"{last.body}\n{body}")
        else:
            texts.append(Text("comment", line, body))
    return texts


def c_like(source):
    """Returns comments and strings of C, JavaScript and protobuf."""
    pattern = re.compile(
        r"""(?P<comment>//[^\n]*)|(?P<block>/\*.*?\*/)|"(?P<double>(?:[^"\\\n]|\\.)*)"|'(?P<single>(?:[^'\\\n]|\\.)*)'"""
        r"""|`(?P<template>(?:[^`\\]|\\.)*)`""",
        re.DOTALL,
    )
    comments, messages, line = [], [], lines_of(source)
    for match in pattern.finditer(source):
        if match.group("comment") is not None or match.group("block") is not None:
            body = re.sub(r"(?m)^[ \t]*\*+(?!/)|^//[/!]?|/\*+|\*+/", "", match.group())
            comments.append((line(match.start()), body))
        else:
            messages.append(Text("message", line(match.start()), match.group(match.lastgroup)))
    return joined(comments) + messages


def dashed(source):
    """Returns comments and strings of SQL and Lua."""
    pattern = re.compile(r"""--(?P<comment>[^\n]*)|'(?P<single>(?:[^']|'')*)'|"(?P<double>[^"\n]*)\"""")
    comments, messages, line = [], [], lines_of(source)
    for match in pattern.finditer(source):
        if match.group("comment") is not None:
            comments.append((line(match.start()), match.group("comment")))
        else:
            messages.append(Text("message", line(match.start()), match.group(match.lastgroup)))
    return joined(comments) + messages


def python(source):
    """Returns comments and strings of Python."""
    comments, messages = [], []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.append((token.start[0], token.string.lstrip("#")))
        elif token.type in STRINGS:
            messages.append(Text("message", token.start[0], token.string))
    return joined(comments) + messages


def markup(source):
    """Returns comments and strings of HTML and Svelte: those of the markup and of the scripts and styles in it."""
    line = lines_of(source)
    pattern = re.compile(r"<!--(.*?)-->", re.DOTALL)
    comments = [(line(match.start()), match.group(1)) for match in pattern.finditer(source)]
    rest = pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), source)
    return joined(comments) + c_like(rest)


CLASS = re.compile(
    r"""(?m)^[ \t]*(?:(?:export|default|const|let|var)\b[^\n'"`]*?)?\bclass[ \t]+([A-Za-z_$][\w$]*)(?=\s*[:({]|\s+extends\b)"""
)


def classes(source):
    """Returns the keyword and the name of every class of Python or JavaScript, as tokens."""
    line = lines_of(source)
    found = [(line(match.start(1)), match.group(1)) for match in CLASS.finditer(source)]
    return [Token("ident", at, body) for at, name in found for body in ("class", name)]


# Since Python 3.12, the parts of an f-string are separate tokens.
STRINGS = {tokenize.STRING} | {getattr(tokenize, name) for name in ("FSTRING_MIDDLE",) if hasattr(tokenize, name)}


def shell(source):
    """Returns comments and strings of a shell script."""
    pattern = re.compile(
        r"""(?:^|(?<=[\s;(]))\#(?P<comment>[^\n]*)|\\.|'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)\"""",
        re.DOTALL | re.MULTILINE,
    )
    comments, messages, line = [], [], lines_of(source)
    for match in pattern.finditer(source):
        if match.group("comment") is not None:
            comments.append((line(match.start()), match.group("comment")))
        elif match.lastgroup:
            messages.append(Text("message", line(match.start()), match.group(match.lastgroup)))
    return joined(comments) + messages


def hashed(source):
    """Returns comments of YAML, TOML, Make and the like; the text before them is data."""
    comments, data = [], []
    for number, text in enumerate(source.split("\n"), start=1):
        match = re.match(r"""((?:[^#"']|(?<!\w)"(?:[^"\\]|\\.)*"|(?<!\w)'[^']*'|["']|(?<=\S)\#)*)(?:\#(.*))?$""", text)
        before, comment = (match.group(1), match.group(2)) if match else (text, None)
        if before.strip():
            data.append(Text("data", number, before))
        if comment is not None:
            comments.append((number, comment))
    return joined(comments) + data


def lines(source):
    """Returns every line as a text of its own: JSON."""
    return [Text("data", number, text) for number, text in enumerate(source.split("\n"), start=1) if text.strip()]


def page(source):
    """Returns a page of documentation as one text."""
    return [Text("page", 1, source)]
