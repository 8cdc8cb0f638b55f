"""A multipart form as it arrives: bytes in, the bytes of its one file out; small fields aside.

Knows no request and no disk. Nothing is kept but what the limits here allow.
"""

import logging
import re

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pandagpt.errors import InvalidValue, UnsupportedValue

FILE_FIELD = "file"
MAX_FIELDS = 8
MAX_FIELD_BYTES = 1024
MAX_NAME_CHARS = 255
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
# What callers send must not write lines of its own into the log.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class FormReader:
    """Every method raises InvalidValue for what is no form, UnsupportedValue for an encoded file.

    `filename` is there once the file has begun, reduced to its last component.
    """

    def __init__(self, content_type: str) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._parser = _parser(content_type, self)
        self._headers: dict[bytes, bytes] = {}
        self._header = [b"", b""]
        self._field: tuple[str, bytearray] | None = None
        self._file_data: list[bytes] = []
        self._num_fields = 0
        self._has_ended = False

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the file."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise _broken() from None
        added = b"".join(self._file_data)
        self._file_data.clear()
        return added

    def flush(self) -> None:
        """After the last of it: a form that was cut short is none."""
        if not self._has_ended:
            raise _broken()

    # What follows is called by the parser, in this order for each part.

    def on_part_begin(self) -> None:
        self._headers = {}

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if b"name" not in options:
            raise InvalidValue("A part of the form has no name in its Content-Disposition.")
        name = options[b"name"].decode("utf-8", "replace")
        if name == FILE_FIELD:
            self._begin_file(options.get(b"filename", b""))
            return
        if b"filename" in options:
            raise InvalidValue(f"The form's file must be named '{FILE_FIELD}'.", FILE_FIELD)
        self._num_fields += 1
        if self._num_fields > MAX_FIELDS:
            raise InvalidValue(f"The form has more than {MAX_FIELDS} fields.")
        self._field = name, bytearray()

    def _begin_file(self, filename: bytes) -> None:
        if self.filename is not None:
            raise InvalidValue("The form holds more than one file. Send one.", FILE_FIELD)
        encoding = self._headers.get(b"content-transfer-encoding", b"binary").lower()
        if encoding not in (b"binary", b"7bit", b"8bit"):
            message = "The file comes in a transfer encoding. Send its bytes as they are."
            raise UnsupportedValue(message, FILE_FIELD)
        self.filename = _last_component(filename.decode("utf-8", "replace"))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._file_data.append(data[start:end])
            return
        name, value = self._field
        value += data[start:end]
        if len(value) > MAX_FIELD_BYTES:
            message = f"A field of the form is longer than {MAX_FIELD_BYTES} bytes."
            raise InvalidValue(message, name[:MAX_NAME_CHARS])

    def on_part_end(self) -> None:
        if self._field is not None:
            name, value = self._field
            self.fields[name] = value.decode("utf-8", "replace")
            self._field = None

    def on_end(self) -> None:
        self._has_ended = True


def _parser(content_type: str, reader: FormReader) -> MultipartParser:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise InvalidValue("The form's Content-Type has no boundary.")
    try:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": reader.on_part_begin,
                "on_header_field": reader.on_header_field,
                "on_header_value": reader.on_header_value,
                "on_header_end": reader.on_header_end,
                "on_headers_finished": reader.on_headers_finished,
                "on_part_data": reader.on_part_data,
                "on_part_end": reader.on_part_end,
                "on_end": reader.on_end,
            },
        )
    except FormParserError:
        raise InvalidValue("The form's boundary is too long.") from None


def _last_component(name: str) -> str:
    """For display only: no path is ever made of it."""
    last = re.split(r"[/\\]", name)[-1]
    return _CONTROLS.sub("", last)[:MAX_NAME_CHARS] or FILE_FIELD


def _broken() -> InvalidValue:
    return InvalidValue("The body is no complete multipart form.")
