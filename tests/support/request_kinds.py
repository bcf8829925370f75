"""Kinds of raw HTTP/1 requests, each with what a server must do with it (RFC 9110, RFC 9112)."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.support.request_drafts import Draft, Verdict, chunks, hostile_body

Change = Callable[[Draft], object]
_LARGE = 20_000  # bytes, more than a head may have


def _get(draft: Draft) -> None:
    draft.method = draft.dice.choice((b"GET", b"DELETE", b"OPTIONS"))


def _head(draft: Draft) -> None:
    draft.method = b"HEAD"


def _close(draft: Draft) -> None:
    draft.headers += (
        draft.dice.choice((b"Connection: close", b"connection: Close", b"Connection: keep-alive, close")),
    )
    draft.closes = True


def _early(draft: Draft) -> None:
    draft.with_body()
    draft.target = draft.path + b"?early"


def _chunk_sizes(draft: Draft) -> None:
    draft.with_chunks(
        lambda dice, chunk: b"0" * dice.randrange(6) + (b"%X" if dice.random() < 0.5 else b"%x") % len(chunk)
    )


def _chunk_extensions(draft: Draft) -> None:
    extensions = (b"", b";a", b";a=b", b';a="b"', b';a="b;\\"c"', b";a;b=c")
    draft.with_chunks(lambda dice, chunk: b"%x" % len(chunk) + dice.choice(extensions))


def _trailers(draft: Draft) -> None:
    draft.with_chunks()
    trailers = (
        b"A: b\r\n",
        b"X-Request-ID: trailer\r\nCookie: a\r\n",
        b"Host: b\r\nExpect: 100-continue\r\n",
        b"X: \tb \r\n",
    )
    draft.payload = draft.payload[:-2] + draft.dice.choice(trailers) + b"\r\n"


def _framing_trailers(draft: Draft) -> None:
    draft.with_chunks()
    trailers = (
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Upgrade: a\r\n",
    )
    draft.payload = draft.payload[:-2] + draft.dice.choice(trailers) + b"\r\n"
    draft.may_close = True


def _upgrade(draft: Draft) -> None:
    draft.dice.choice((_get, Draft.with_length, Draft.with_chunks))(draft)
    protocol = draft.dice.choice((b"h2c", b"websocket", b"TLS/1.0", b"anything, HTTP/2.0"))
    draft.headers += (
        b"Upgrade: " + protocol,
        b"Connection: Upgrade, HTTP2-Settings",
        b"HTTP2-Settings: AAEAAEAAAAIAAAAB",
    )


def _expect(draft: Draft) -> None:
    draft.with_body()
    draft.headers += (draft.dice.choice((b"Expect: 100-continue", b"expect: 100-Continue")),)
    if draft.dice.random() < 0.3:  # it may leave the connection unusable, because a client may omit the body
        draft.target, draft.may_close = draft.path + b"?early", True


def _absolute_form(draft: Draft) -> None:
    authority = draft.dice.choice((b"a", b"a:80", b"[::1]:8000"))
    draft.target, draft.host = b"http://" + authority + draft.path, authority


def _header_case(draft: Draft) -> None:
    draft.with_body()
    draft.headers = tuple(_random_case(draft.dice, header) for header in draft.headers)


def _random_case(dice: random.Random, text: bytes) -> bytes:
    return b"".join(
        text[index : index + 1].upper() if dice.random() < 0.5 else text[index : index + 1].lower()
        for index in range(len(text))
    )


def _whitespace(draft: Draft) -> None:
    draft.with_body()
    draft.headers = tuple(
        header.replace(b": ", b":" + draft.dice.choice((b"", b" ", b"\t", b"  \t ")))
        + draft.dice.choice((b"", b" ", b"   ") if header.startswith(b"Transfer") else (b"", b" ", b"\t", b"  \t "))
        for header in draft.headers
    )


def _tab_behind_coding(draft: Draft) -> None:
    draft.with_chunks()
    draft.headers = (draft.headers[0] + draft.dice.choice((b"\t", b" \t ", b"\t\t")),)


def _empty_line_before(draft: Draft) -> None:
    draft.with_body()
    draft.prefix = b"\r\n"


def _http10(draft: Draft) -> None:
    if draft.dice.random() < 0.5:
        draft.with_length()
    draft.version, draft.closes = b"HTTP/1.0", True
    if draft.dice.random() < 0.3:
        draft.host = None


def _http10_keep_alive(draft: Draft) -> None:
    _http10(draft)
    draft.headers += (b"Connection: keep-alive",)


def _query(draft: Draft) -> None:
    draft.target = draft.path + draft.dice.choice((b"?", b"?a=b&c=%20", b"?http://b/c", b"?a=?/../"))


def _length_and_chunks(draft: Draft) -> None:
    draft.with_chunks()
    length = draft.dice.choice((0, 6, len(draft.payload), len(draft.body)))
    draft.headers += (b"Content-Length: %d" % length,)


def _two_lengths(draft: Draft) -> None:
    draft.with_length()
    other = b"%d" % draft.dice.choice((len(draft.body) + 1, 1000, len(draft.body) - 1 if draft.body else 6))
    if draft.dice.random() < 0.5:
        draft.headers += (b"Content-Length: " + other,)
    else:
        draft.headers = (draft.headers[0] + b", " + other,)


def _same_length_twice(draft: Draft) -> None:
    draft.with_length()
    draft.headers = draft.dice.choice((draft.headers * 2, (draft.headers[0] + b", %d" % len(draft.body),)))


def _bad_length(draft: Draft) -> None:
    draft.with_length()
    size = b"%d" % len(draft.body)
    bad = (
        b"-1",
        b"+" + size,
        b"0x" + size,
        size + b"a",
        size + b" 0",
        b"",
        b"9" * 30,
        b'"' + size + b'"',
        size + b".0",
    )
    draft.headers = (b"Content-Length: " + draft.dice.choice(bad),)


def _unknown_coding(draft: Draft) -> None:
    draft.with_chunks()
    codings = (
        b"identity",
        b"xchunked",
        b"chunked, identity",
        b"chunked;q=1",
        b"chunkedx",
        b"\x0bchunked",
        b"gzip",
        b"chunked gzip",
    )
    draft.headers = (b"Transfer-Encoding: " + draft.dice.choice(codings),)


def _coding_list(draft: Draft) -> None:
    draft.with_chunks()
    more = (
        (b"gzip, chunked",),
        (b"chunked, chunked",),
        (b"chunked", b"chunked"),
        (b"gzip", b"chunked"),
        (b", chunked",),
        (b"chunked,",),
    )
    draft.headers = tuple(b"Transfer-Encoding: " + value for value in draft.dice.choice(more))


def _http10_chunks(draft: Draft) -> None:
    draft.with_chunks()
    draft.version, draft.closes = b"HTTP/1.0", True


def _bad_chunk_size(draft: Draft) -> None:
    bad = (b"f" * 17, b"1" + b"0" * 16, b"-1", b"+1", b"0x1", b" 1", b"g", b"", b"1_0", b"\xc2\xb2", b"1\t1", b"\x001")
    draft.with_chunks()
    draft.payload = draft.dice.choice(bad) + b"\r\n" + hostile_body(draft.dice, draft.marker) + b"\r\n0\r\n\r\n"


def _bad_chunk_end(draft: Draft) -> None:
    draft.with_chunks()
    body = draft.body if len(draft.body) > 2 else b"xyz"
    shorter, longer = b"%x" % (len(body) - 1 or 0x10), b"%x" % max(len(body) - 2, 1)
    ends = (
        (b"%x" % len(body), b""),
        (shorter, b"\r\n"),
        (longer, b"\r\n"),
        (b"%x" % len(body), b"\r"),
        (b"%x" % len(body), b"xx"),
    )
    size, end = draft.dice.choice(ends)
    if int(size, 16) == len(body) and not end:
        end = b"!"
    draft.payload = size + b"\r\n" + body.replace(b"\r", b"!").replace(b"\n", b"!") + end + b"0\r\n\r\n"


def _loose_chunk_size(draft: Draft) -> None:
    ends = (b" ", b"\t", b" ;a=b", b"; a", b";a = b")
    draft.with_chunks(lambda dice, chunk: b"%x" % len(chunk) + dice.choice(ends))


def _line_feed_after_chunk_size(draft: Draft) -> None:
    draft.with_chunks()
    draft.body = draft.body or b"x"
    draft.payload = b"%x\n%s\r\n0\r\n\r\n" % (len(draft.body), draft.body)


def _line_feed_in_chunk_extension(draft: Draft) -> None:
    """A proxy that ends the line at the line feed reads another size than one that does not."""
    draft.with_chunks()
    draft.payload = (
        b"2;\nxx\r\n"
        + chunks(draft.dice, b"GET /inside/1 HTTP/1.1\r\nHost: a\r\n\r\n", lambda _, chunk: b"%x" % len(chunk))
        + b"0\r\n\r\n"
    )


def _space_before_colon(draft: Draft) -> None:
    draft.with_body()
    space = draft.dice.choice((b" ", b"\t", b"\x0b", b"\xa0"))
    draft.headers = tuple(header.replace(b":", space + b":", 1) for header in draft.headers)


def _fold(draft: Draft) -> None:
    draft.with_body()
    fold = draft.dice.choice((b"\r\n ", b"\r\n\t"))
    if draft.dice.random() < 0.5:
        draft.headers += (b"X-Folded: a" + fold + b"b",)
    else:
        draft.headers = tuple(header.replace(b": ", b":" + fold, 1) for header in draft.headers)


def _bare_line_feed(draft: Draft) -> None:
    draft.with_body()
    if draft.dice.random() < 0.5:
        draft.newline = b"\n"
    else:
        draft.headers += (b"A: b\nC: d",)


def _bare_carriage_return(draft: Draft) -> None:
    draft.with_body()
    draft.headers += (draft.dice.choice((b"A: b\rC: d", b"A: \rTransfer-Encoding: chunked", b"A\r: b", b"A: b\r")),)


def _no_host(draft: Draft) -> None:
    draft.with_body()
    draft.host = None


def _two_hosts(draft: Draft) -> None:
    draft.with_body()
    draft.headers += (draft.dice.choice((b"Host: b", b"host: a", b"HOST:")),)


def _bad_host(draft: Draft) -> None:
    draft.with_body()
    draft.host = draft.dice.choice(
        (b"a@b", b"a b", b"a/b", b"a?b", b"a#b", b"a, b", b"a:b", b"[::1", b"a:99999", b'a"b', b"a\\b", b"http://a")
    )


def _empty_host(draft: Draft) -> None:
    draft.with_body()
    draft.host = b""


def _connect(draft: Draft) -> None:
    if draft.dice.random() < 0.5:
        draft.with_length()
    draft.method = b"CONNECT"
    draft.target = draft.host = draft.dice.choice((b"a:80", b"a.example:443", b"[::1]:80"))
    if draft.dice.random() < 0.3:
        draft.target = draft.path
    draft.payload += f"GET /inside/{draft.marker} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def _bad_target(draft: Draft) -> None:
    targets = (
        b"http:///x",
        b"http://a:99999/x",
        b"http://",
        b"http:",
        b"x",
        b"a:80",
        b"?a",
        b"#a",
        b"http://a@b@c/",
        b"/a b",
        b"/\x00",
        b"/a\x7f",
    )
    draft.target = draft.dice.choice(targets)


def _odd_target(draft: Draft) -> None:
    draft.target = draft.path + draft.dice.choice(
        (b"#fragment", b"/\xe4", b"/<>", b'/"', b"/%", b"/%zz", b"/%00", b"|")
    )


def _asterisk(draft: Draft) -> None:
    draft.method = b"OPTIONS"
    draft.target = draft.read_path = b"*"


def _bad_version(draft: Draft) -> None:
    draft.version = draft.dice.choice(
        (
            b"HTTP/2.0",
            b"HTTP/0.9",
            b"HTTP/1",
            b"http/1.1",
            b"HTTP/1.1.1",
            b"HTTPS/1.1",
            b"HTTP/11",
            b"HTTP/ 1.1",
        )
    )


def _other_protocol(draft: Draft) -> None:
    draft.version = draft.dice.choice((b"ICE/1.0", b"RTSP/1.0"))
    draft.closes = True


def _later_version(draft: Draft) -> None:
    draft.version = draft.dice.choice((b"HTTP/1.2", b"HTTP/1.9"))


def _simple_request(draft: Draft) -> None:
    draft.version = b""


def _unknown_method(draft: Draft) -> None:
    draft.method = draft.dice.choice((b"FOO", b"get", b"Get", b"GETS", b"X-Y", b"SETUP", b"FLUSH", b"QUERY"))


def _bad_method(draft: Draft) -> None:
    draft.method = draft.dice.choice((b"GE(T", b"G:T", b"\xff", b"GET\x00", b"{}", b"@"))


def _spaces_in_request_line(draft: Draft) -> None:
    draft.version = draft.dice.choice((b" ", b"\t", b"  ")) + draft.version


def _bad_header_name(draft: Draft) -> None:
    draft.with_body()
    draft.headers += (
        draft.dice.choice((b"A(B): c", b"A B: c", b": c", b"no colon", b"A\x00: b", b"\xe4: b", b"A[]: b")),
    )


def _bad_header_value(draft: Draft) -> None:
    draft.with_body()
    draft.headers += (draft.dice.choice((b"A: \x00", b"A: b\x00c")),)


def _control_in_header_value(draft: Draft) -> None:
    draft.with_body()
    draft.headers += (draft.dice.choice((b"A: \x01", b"A: b\x7f", b"A: \x0b", b"A: \x1b[1m")),)


def _space_before_first_header(draft: Draft) -> None:
    draft.with_body()
    draft.version += b"\r\n" + draft.dice.choice((b" A: b", b"\tTransfer-Encoding: chunked", b" "))


def _large_head(draft: Draft) -> None:
    draft.with_body()
    draft.headers += draft.dice.choice(
        ((b"Cookie: " + b"c" * _LARGE,), (b"A: b",) * (_LARGE // 6), (b"a" * _LARGE + b": b",))
    )


def _http2_preface(draft: Draft) -> None:
    draft.prefix = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


KINDS: dict[str, tuple[Change, Verdict]] = {
    "get": (_get, Verdict.ACCEPT),
    "head": (_head, Verdict.ACCEPT),
    "close": (_close, Verdict.ACCEPT),
    "length": (Draft.with_length, Verdict.ACCEPT),
    "chunks": (Draft.with_chunks, Verdict.ACCEPT),
    "early response": (_early, Verdict.ACCEPT),
    "chunk sizes": (_chunk_sizes, Verdict.ACCEPT),
    "chunk extensions": (_chunk_extensions, Verdict.ACCEPT),
    "trailers": (_trailers, Verdict.ACCEPT),
    "upgrade": (_upgrade, Verdict.ACCEPT),
    "expect": (_expect, Verdict.ACCEPT),
    "absolute form": (_absolute_form, Verdict.ACCEPT),
    "header case": (_header_case, Verdict.ACCEPT),
    "whitespace": (_whitespace, Verdict.ACCEPT),
    "empty line before": (_empty_line_before, Verdict.ACCEPT),
    "HTTP/1.0": (_http10, Verdict.ACCEPT),
    "HTTP/1.0 keep-alive": (_http10_keep_alive, Verdict.ACCEPT),
    "query": (_query, Verdict.ACCEPT),
    "length and chunks": (_length_and_chunks, Verdict.REJECT),
    "two lengths": (_two_lengths, Verdict.REJECT),
    "bad length": (_bad_length, Verdict.REJECT),
    "unknown coding": (_unknown_coding, Verdict.REJECT),
    "bad chunk size": (_bad_chunk_size, Verdict.REJECT),
    "bad chunk end": (_bad_chunk_end, Verdict.REJECT),
    "line feed in chunk extension": (_line_feed_in_chunk_extension, Verdict.REJECT),
    "space before colon": (_space_before_colon, Verdict.REJECT),
    "bare carriage return": (_bare_carriage_return, Verdict.REJECT),
    "no host": (_no_host, Verdict.REJECT),
    "two hosts": (_two_hosts, Verdict.REJECT),
    "bad host": (_bad_host, Verdict.REJECT),
    "connect": (_connect, Verdict.REJECT),
    "bad target": (_bad_target, Verdict.REJECT),
    "bad version": (_bad_version, Verdict.REJECT),
    "simple request": (_simple_request, Verdict.REJECT),
    "bad method": (_bad_method, Verdict.REJECT),
    "bad header name": (_bad_header_name, Verdict.REJECT),
    "bad header value": (_bad_header_value, Verdict.REJECT),
    "large head": (_large_head, Verdict.REJECT),
    "HTTP/2 preface": (_http2_preface, Verdict.REJECT),
    "same length twice": (_same_length_twice, Verdict.EITHER),
    "coding list": (_coding_list, Verdict.EITHER),
    "HTTP/1.0 chunks": (_http10_chunks, Verdict.EITHER),
    "loose chunk size": (_loose_chunk_size, Verdict.EITHER),
    "line feed after chunk size": (_line_feed_after_chunk_size, Verdict.EITHER),
    "tab behind coding": (_tab_behind_coding, Verdict.EITHER),
    "framing trailers": (_framing_trailers, Verdict.EITHER),
    "fold": (_fold, Verdict.EITHER),
    "bare line feed": (_bare_line_feed, Verdict.EITHER),
    "empty host": (_empty_host, Verdict.EITHER),
    "odd target": (_odd_target, Verdict.EITHER),
    "asterisk": (_asterisk, Verdict.EITHER),
    "other protocol": (_other_protocol, Verdict.EITHER),
    "later version": (_later_version, Verdict.EITHER),
    "unknown method": (_unknown_method, Verdict.EITHER),
    "spaces in request line": (_spaces_in_request_line, Verdict.EITHER),
    "control in header value": (_control_in_header_value, Verdict.EITHER),
    "space before first header": (_space_before_first_header, Verdict.EITHER),
}
"""Each kind with its verdict.

REJECT: RFC 9112 requires it (3.2 Host, 5.1 space before a colon, 6.1 and 6.3 lengths and codings, 7.1 chunks) or no
resource could be meant. EITHER: RFC 9112 lets a server choose (2.2 bare line feeds, 5.2 folds, 6.1 codings, 7.1.1
whitespace; RFC 9110, 8.6 repeated lengths), or to reject it is safe.
"""
