"""A Markdown document as sections: headings with the paragraphs, lists, tables and blocks of code below them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

from oyez.scaffold.reader.model import DocumentError

MAX_BLOCKS = 50_000
"""Blocks of a document: a document with a thousand events has fewer."""
MAX_PARAGRAPH = 20_000
"""Characters of a paragraph or a cell. Patterns search it several times from each of its words."""
MAX_LINE = 2_000
"""Characters of a line of code, for the same reason."""
MAX_CODE = 100_000
"""Characters of a block of code."""
MAX_TEXT = 500_000
"""Characters of a document: the largest event documents have a tenth of it."""
MAX_INDENT = 100
"""Spaces at the beginning of a line: the parser's time grows with lists in each other."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph, in Markdown."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a list: its first paragraph."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Code:
    """A block of code."""

    language: str
    text: str
    line: int
    """The line of its first line of code."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the titles of its columns, and each row with its line."""

    titles: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]


Block = Paragraph | Item | Code | Table


@dataclass(slots=True)
class Section:
    """What is below one heading, up to the next heading of any level."""

    title: str
    level: int
    line: int
    parents: tuple[str, ...] = ()
    """The titles of the sections around it, the outermost first."""
    blocks: list[Block] = field(default_factory=list)
    end: int = 0

    @property
    def path(self) -> tuple[str, ...]:
        return *self.parents, self.title


def read_sections(text: str) -> list[Section]:
    """The sections of a document. Raises DocumentError."""
    if len(text) > MAX_TEXT:
        raise DocumentError(f"The document has over {MAX_TEXT:,} characters. Give the part that describes the events.")
    for number, written in enumerate(text.splitlines(), 1):
        if len(written) - len(written.lstrip(" \t>-*+")) > MAX_INDENT:
            raise DocumentError(f"Line {number} of the document is indented by over {MAX_INDENT} characters.")
    # `maxNesting` limits quotes and lists in each other; deeper ones are read as text.
    parser = MarkdownIt("commonmark", {"maxNesting": 20}).enable("table")
    tokens = parser.parse(text)
    if len(tokens) > MAX_BLOCKS:
        raise DocumentError(f"The document has over {MAX_BLOCKS:,} blocks. Give the part that describes the events.")
    sections = [Section("", 0, 1)]
    open_titles: list[Section] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        line = token.map[0] + 1 if token.map else sections[-1].line
        if token.type == "heading_open":
            level = int(token.tag[1])
            open_titles = [found for found in open_titles if found.level < level]
            title = tokens[position + 1].content
            sections[-1].end = line - 1
            sections.append(Section(title, level, line, tuple(found.title for found in open_titles)))
            open_titles.append(sections[-1])
            position += 2
        elif token.type in ("fence", "code_block"):
            first = line + (token.type == "fence")
            check_length([token.content], MAX_CODE, first)
            check_length(token.content.splitlines(), MAX_LINE, first)
            sections[-1].blocks.append(Code(token.info.strip().split(" ")[0].lower(), token.content, first))
        elif token.type == "table_open":
            end = _find_end(tokens, position, "table_close")
            sections[-1].blocks.append(_read_table(tokens[position:end]))
            position = end
        elif token.type == "inline":
            check_length([token.content], MAX_PARAGRAPH, line)
            kind = Item if _is_item(tokens, position) else Paragraph
            sections[-1].blocks.append(kind(token.content, line))
        position += 1
    sections[-1].end = text.count("\n") + 1
    return sections


def check_length(texts: Sequence[str], limit: int, line: int) -> None:
    """Raises DocumentError if a text is too long for what people write."""
    for number, text in enumerate(texts):
        if len(text) > limit:
            raise DocumentError(
                f"Line {line + number} of the document has {len(text):,} characters; {limit:,} are possible."
                " Break it, or leave it out."
            )


def _is_item(tokens: Sequence[Token], position: int) -> bool:
    """True if the paragraph is the first one of an item."""
    return position > 1 and tokens[position - 2].type == "list_item_open"


def _find_end(tokens: Sequence[Token], position: int, kind: str) -> int:
    return next(place for place in range(position, len(tokens)) if tokens[place].type == kind)


def _read_table(tokens: Sequence[Token]) -> Table:
    rows = list(_read_rows(tokens))
    return Table(rows[0][1], tuple(rows[1:]))


def _read_rows(tokens: Sequence[Token]) -> Iterator[tuple[int, tuple[str, ...]]]:
    cells: list[str] = []
    line = 0
    for token in tokens:
        if token.type == "tr_open":
            cells = []
            line = token.map[0] + 1 if token.map else line
        elif token.type == "inline":
            check_length([token.content], MAX_PARAGRAPH, line)
            cells.append(token.content)
        elif token.type == "tr_close":
            yield line, tuple(cells)
