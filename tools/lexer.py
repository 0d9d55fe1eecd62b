"""Reads the texts out of source files: comments, string literals and, for Rust, the tokens around them.

A text keeps the line breaks of its file, so that a position within it gives its line. Nothing here knows a rule.
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
        """The line in the file of a position in the body."""
        return self.line + self.body.count("\n", 0, position)


class Token(NamedTuple):
    """A Rust token that is neither white space nor a comment."""

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
    """A function from a position in `source` to its line, counted from 1."""
    starts = [match.end() for match in re.finditer("\n", source)]
    return lambda position: bisect.bisect_right(starts, position) + 1


def block_end(source, start):
    """Where the block comment at `start` ends; Rust's nest."""
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(source, start):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    return len(source)


def rust(source):
    """Texts and tokens of a Rust file."""
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
    """Comments on adjacent lines are one text, so that a phrase may go on in the next line."""
    texts = []
    for line, body in comments:
        last = texts[-1] if texts else None
        if last and last.line + last.body.count("\n") + 1 == line:
            texts[-1] = last._replace(body=f"{last.body}\n{body}")
        else:
            texts.append(Text("comment", line, body))
    return texts


def c_like(source):
    """Comments and strings of C, JavaScript and protobuf."""
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
    """Comments and strings of SQL and Lua."""
    pattern = re.compile(r"""--(?P<comment>[^\n]*)|'(?P<single>(?:[^']|'')*)'|"(?P<double>[^"\n]*)\"""")
    comments, messages, line = [], [], lines_of(source)
    for match in pattern.finditer(source):
        if match.group("comment") is not None:
            comments.append((line(match.start()), match.group("comment")))
        else:
            messages.append(Text("message", line(match.start()), match.group(match.lastgroup)))
    return joined(comments) + messages


def python(source):
    """Comments and strings of Python."""
    comments, messages = [], []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.append((token.start[0], token.string.lstrip("#")))
        elif token.type in STRINGS:
            messages.append(Text("message", token.start[0], token.string))
    return joined(comments) + messages


# From Python 3.12 on, the parts of an f-string are tokens of their own.
STRINGS = {tokenize.STRING} | {getattr(tokenize, name) for name in ("FSTRING_MIDDLE",) if hasattr(tokenize, name)}


def shell(source):
    """Comments and strings of a shell script."""
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
    """Comments of YAML, TOML, Make and the like; what stands before them is data."""
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
    """Every line for itself: JSON."""
    return [Text("data", number, text) for number, text in enumerate(source.split("\n"), start=1) if text.strip()]


def page(source):
    """A page of documentation."""
    return [Text("page", 1, source)]
