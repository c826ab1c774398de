"""The part of Lua that instrument programs are written in, as a tree of tuples.

Promises: what it cannot read it refuses with the line (error -285 of the instrument); it never
runs anything. Left out of Lua 5.0: generic ``for``, ``...`` and long strings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

Node = tuple[Any, ...]

_TOKEN = re.compile(
    r"(?P<space>[ \t\r]+|--[^\n]*)|(?P<line>\n)"
    r"|(?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<string>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    r"|(?P<sign>==|~=|<=|>=|\.\.|[-+*/^%#=<>(){}\[\];,.:])"
)
_KEYWORDS = frozenset(
    (
        *("and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in"),
        *("local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while"),
    )
)
_PRIORITY = {
    "or": (1, 1), "and": (2, 2), "<": (3, 3), ">": (3, 3), "<=": (3, 3), ">=": (3, 3),
    "~=": (3, 3), "==": (3, 3), "..": (5, 4), "+": (6, 6), "-": (6, 6), "*": (7, 7), "/": (7, 7),
    "%": (7, 7), "^": (10, 9),
}  # fmt: skip
_UNARY = 8
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class LuaSyntaxError(Exception):
    """A text is no program."""


class Token(NamedTuple):
    """A word of the language: ``kind`` is number, name, string, or the sign or keyword itself."""

    kind: str
    text: str
    line: int


def tokens(text: str) -> list[Token]:
    """The words of a program, with an ``end of text`` behind them.

    Raises:
        LuaSyntaxError: a character that begins none.
    """
    found: list[Token] = []
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise LuaSyntaxError(f"at line {line}: unexpected symbol near `{text[at]}'")
        kind, word, at = str(match.lastgroup), match[0], match.end()
        if kind == "line":
            line += 1
        elif kind == "sign" or word in _KEYWORDS:
            found.append(Token(word, word, line))
        elif kind != "space":
            found.append(Token(kind, word, line))
    return [*found, Token("<eof>", "<eof>", line)]


def parse(text: str) -> list[Node]:
    """The statements of a program.

    Raises:
        LuaSyntaxError: it is none.
    """
    return Parser(tokens(text)).program()


class Parser:
    """One pass over the tokens of a program."""

    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0
        self._statements: dict[str, Callable[[], Node]] = {
            "if": self._if, "while": self._while, "repeat": self._repeat, "for": self._for,
            "function": self._function, "local": self._local, "return": self._return,
            "do": self._do, "break": lambda: ("break",),
        }  # fmt: skip

    def program(self) -> list[Node]:
        """All statements."""
        block = self._block()
        self._expect("<eof>")
        return block

    # -- tokens -----------------------------------------------------------------------------------

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        self._at += 1
        return token

    def _try(self, *kinds: str) -> bool:
        if self._next.kind in kinds:
            self._at += 1
            return True
        return False

    def _expect(self, kind: str) -> Token:
        token = self._next
        if token.kind != kind:
            text = f"at line {token.line}: `{kind}' expected near `{token.text}'"
            raise LuaSyntaxError(text)
        return self._take()

    # -- statements -------------------------------------------------------------------------------

    def _block(self, *ends: str) -> list[Node]:
        found: list[Node] = []
        while self._next.kind not in {"<eof>", "end", "else", "elseif", "until", *ends}:
            if not self._try(";"):
                found.append(self._statement())
        return found

    def _statement(self) -> Node:
        kind = self._next.kind
        if kind in self._statements:
            self._at += 1
            return self._statements[kind]()
        target = self._primary()
        if target[0] == "call" and self._next.kind not in {"=", ","}:
            return ("do_call", target)
        targets = [target]
        while self._try(","):
            targets.append(self._primary())
        self._expect("=")
        if any(each[0] not in {"name", "index"} for each in targets):
            raise LuaSyntaxError(f"at line {self._next.line}: cannot assign near `='")
        return ("assign", targets, self._expressions())

    def _if(self) -> Node:
        arms = [self._arm()]
        while self._try("elseif"):
            arms.append(self._arm())
        otherwise = self._block() if self._try("else") else []
        self._expect("end")
        return ("if", arms, otherwise)

    def _arm(self) -> tuple[Node, list[Node]]:
        condition = self._expression()
        self._expect("then")
        return condition, self._block()

    def _while(self) -> Node:
        condition = self._expression()
        self._expect("do")
        return ("while", condition, self._ended())

    def _repeat(self) -> Node:
        block = self._block()
        self._expect("until")
        return ("repeat", block, self._expression())

    def _for(self) -> Node:
        name = self._expect("name").text
        self._expect("=")
        span = self._expressions()
        if len(span) not in {2, 3}:
            raise LuaSyntaxError(f"at line {self._next.line}: `for' takes two or three values")
        self._expect("do")
        return ("for", name, span, self._ended())

    def _do(self) -> Node:
        return ("block", self._ended())

    def _ended(self) -> list[Node]:
        block = self._block()
        self._expect("end")
        return block

    def _function(self) -> Node:
        target: Node = ("name", self._expect("name").text)
        while self._try("."):
            target = ("index", target, ("value", self._expect("name").text))
        return ("assign", [target], [self._body()])

    def _body(self) -> Node:
        self._expect("(")
        names: list[str] = []
        while self._next.kind == "name":
            names.append(self._take().text)
            if not self._try(","):
                break
        self._expect(")")
        return ("function", names, self._ended())

    def _local(self) -> Node:
        if self._try("function"):
            name = self._expect("name").text
            return ("local", [name], [self._body()])
        names = [self._expect("name").text]
        while self._try(","):
            names.append(self._expect("name").text)
        return ("local", names, self._expressions() if self._try("=") else [])

    def _return(self) -> Node:
        ends = self._next.kind in {"<eof>", "end", "else", "elseif", "until", ";"}
        return ("return", [] if ends else self._expressions())

    # -- expressions ------------------------------------------------------------------------------

    def _expressions(self) -> list[Node]:
        found = [self._expression()]
        while self._try(","):
            found.append(self._expression())
        return found

    def _expression(self, above: int = 0) -> Node:
        if self._next.kind in {"-", "not", "#"}:
            left: Node = ("unary", self._take().kind, self._expression(_UNARY))
        else:
            left = self._simple()
        while self._next.kind in _PRIORITY and _PRIORITY[self._next.kind][0] > above:
            sign = self._take().kind
            left = ("binary", sign, left, self._expression(_PRIORITY[sign][1]))
        return left

    def _simple(self) -> Node:
        token = self._next
        if token.kind == "number":
            self._at += 1
            hexadecimal = token.text[:2].lower() == "0x"
            return ("value", float(int(token.text, 16)) if hexadecimal else float(token.text))
        if token.kind == "string":
            self._at += 1
            return ("value", _unescaped(token.text[1:-1]))
        if token.kind in {"nil", "true", "false"}:
            self._at += 1
            return ("value", {"nil": None, "true": True, "false": False}[token.kind])
        if token.kind == "function":
            self._at += 1
            return self._body()
        return self._table() if token.kind == "{" else self._primary()

    def _primary(self) -> Node:
        if self._try("("):
            found: Node = ("single", self._expression())
            self._expect(")")
        else:
            token = self._next
            if token.kind != "name":
                text = f"at line {token.line}: unexpected symbol near `{token.text}'"
                raise LuaSyntaxError(text)
            found = ("name", self._take().text)
        return self._suffixes(found)

    def _suffixes(self, found: Node) -> Node:
        while True:
            if self._try("."):
                found = ("index", found, ("value", self._expect("name").text))
            elif self._try("["):
                found = ("index", found, self._expression())
                self._expect("]")
            elif self._try("("):
                arguments = [] if self._next.kind == ")" else self._expressions()
                self._expect(")")
                found = ("call", found, arguments)
            elif self._next.kind == "{":
                found = ("call", found, [self._table()])
            else:
                return found

    def _table(self) -> Node:
        self._expect("{")
        items: list[tuple[Node | None, Node]] = []
        while self._next.kind != "}":
            items.append(self._item())
            if not self._try(",", ";"):
                break
        self._expect("}")
        return ("table", items)

    def _item(self) -> tuple[Node | None, Node]:
        if self._try("["):
            key = self._expression()
            self._expect("]")
            self._expect("=")
            return key, self._expression()
        if self._next.kind == "name" and self._tokens[self._at + 1].kind == "=":
            name = self._take().text
            self._at += 1
            return ("value", name), self._expression()
        return None, self._expression()


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text)
