"""Libraries that nobody here wrote link into guests and compute there."""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import pytest
from built import MARKS, Build, built, need_library, opened

from hyperlight import guest

__all__ = ["built"]  # a fixture

pytestmark = MARKS

HOWTO = Path(__file__).parents[2] / "docs/howto/write-guest.md"
TEXT = b"<a><b/></a>"


class Library(NamedTuple):
    """One call into it; `data` and `size` are the argument."""

    header: str
    body: str
    wanted: str = TEXT.decode()
    data: bytes = TEXT
    needs: tuple[str, ...] = ()


def png() -> bytes:
    """Two pixels by two: the bytes 10 to 21."""
    rows = bytes([0, *range(10, 16), 0, *range(16, 22)])
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


RETURN_OUT = "hl_return_str(hl_view(out, n));"

LIBRARIES = {
    "lz4": Library(
        "lz4.h",
        "int n = LZ4_compress_default(data, out, (int)size, sizeof out);"
        "n = LZ4_decompress_safe(out, back, n, sizeof back);"
        "hl_return_str(hl_view(back, (size_t)n));",
    ),
    "zstd": Library(
        "zstd.h",
        "size_t n = ZSTD_compress(out, sizeof out, data, size, 3);"
        "n = ZSTD_decompress(back, sizeof back, out, n);"
        "hl_return_str(hl_view(back, n));",
    ),
    "lzma": Library(
        "lzma.h",
        "size_t in = 0, n = 0; uint64_t limit = 64 << 20;"
        "lzma_stream_buffer_decode(&limit, 0, NULL, (const void *)data, &in,"
        "size, (void *)out, &n, sizeof out);" + RETURN_OUT,
        data=lzma.compress(TEXT, preset=0),
    ),
    "brotlidec": Library(
        "brotli/decode.h",
        "size_t n = sizeof out; BrotliDecoderDecompress("
        "size, (const void *)data, &n, (void *)out);" + RETURN_OUT,
        wanted="hello",
        data=b"\x0b\x02\x80hello\x03",
        needs=("brotlicommon",),
    ),
    "xxhash": Library(
        "xxhash.h",
        'hl_return_format("%lx", (unsigned long)XXH64(data, size, 0));',
        wanted="d24ec4f1a98c6e5b",
        data=b"a",
    ),
    "deflate": Library(
        "libdeflate.h",
        "size_t n = 0; libdeflate_zlib_decompress("
        "libdeflate_alloc_decompressor(), data, size, out, sizeof out, &n);"
        + RETURN_OUT,
        data=zlib.compress(TEXT),
    ),
    "z": Library(
        "zlib.h",
        "unsigned long n = sizeof out;"
        "uncompress((void *)out, &n, (const void *)data, size);" + RETURN_OUT,
        data=zlib.compress(TEXT),
    ),
    "gmp": Library(
        "gmp.h",
        "mpz_t a; mpz_init_set_ui(a, size); mpz_pow_ui(a, a, 40);"
        "hl_return_str(hl_cstr(mpz_get_str(NULL, 10, a)));",
        wanted=str(11**40),
    ),
    "bz2": Library(
        "bzlib.h",
        "unsigned n = sizeof out; BZ2_bzBuffToBuffDecompress("
        "out, &n, (char *)(uintptr_t)data, (unsigned)size, 0, 0);"
        + RETURN_OUT,
        data=bz2.compress(TEXT, 1),
    ),
    "expat": Library(
        "expat.h",
        "XML_Parser p = XML_ParserCreate(NULL);"
        "int ok = XML_Parse(p, data, (int)size, 1);"
        'hl_return_format("%d %lu", ok, XML_GetCurrentColumnNumber(p));',
        wanted="1 11",
    ),
    "yaml": Library(
        "yaml.h",
        "yaml_parser_t p; yaml_event_t e; yaml_parser_initialize(&p);"
        "yaml_parser_set_input_string(&p, (const void *)data, size);"
        "do yaml_parser_parse(&p, &e); while (e.type < YAML_SCALAR_EVENT);"
        "hl_return_str(hl_cstr((char *)e.data.scalar.value));",
    ),
    "jansson": Library(
        "jansson.h",
        "json_t *j = json_loadb(data, size, 0, NULL);"
        "hl_return_str(hl_cstr(json_dumps(j, JSON_COMPACT)));",
        wanted='{"a":[1,-2.5,"\u00e9"]}',
        data=b'{ "a": [1, -25e-1, "\\u00e9"] }',
    ),
    "jpeg": Library(
        "jpeglib.h",
        # A grey picture of one colour, there and back.
        "struct jpeg_error_mgr e; struct jpeg_compress_struct c;"
        "struct jpeg_decompress_struct d; unsigned char row[16];"
        "unsigned char *rows[1] = {row}, *to = NULL; unsigned long n = 0;"
        "memset(row, data[0], 16); c.err = d.err = jpeg_std_error(&e);"
        "jpeg_create_compress(&c); jpeg_mem_dest(&c, &to, &n);"
        "c.image_width = c.image_height = 16; c.input_components = 1;"
        "c.in_color_space = JCS_GRAYSCALE; jpeg_set_defaults(&c);"
        "jpeg_start_compress(&c, TRUE);"
        "for (int i = 0; i < 16; i++) jpeg_write_scanlines(&c, rows, 1);"
        "jpeg_finish_compress(&c); memset(row, 0, 16);"
        "jpeg_create_decompress(&d); jpeg_mem_src(&d, to, n);"
        "jpeg_read_header(&d, TRUE); jpeg_start_decompress(&d);"
        "jpeg_read_scanlines(&d, rows, 1);"
        'hl_return_format("%d %d", to[0], row[15]);',
        wanted="255 60",
    ),
    "png": Library(
        "png.h",
        "png_image i = {.version = PNG_IMAGE_VERSION};"
        "png_image_begin_read_from_memory(&i, data, size);"
        "i.format = PNG_FORMAT_RGB;"
        "png_image_finish_read(&i, NULL, out, 0, NULL);"
        'hl_return_format("%d %d %d %s", out[0], out[6], out[11], i.message);',
        wanted="10 16 21 ",
        data=png(),
        needs=("z", "m"),
    ),
    "lua5.4": Library(
        "lua5.4/lauxlib.h>\n#include <lua5.4/lualib.h",
        "lua_State *l = luaL_newstate();"
        'luaL_requiref(l, "_G", luaopen_base, 1);'
        'luaL_requiref(l, "coroutine", luaopen_coroutine, 1);'
        'luaL_requiref(l, "math", luaopen_math, 1);'
        'luaL_requiref(l, "table", luaopen_table, 1);'
        'luaL_requiref(l, "utf8", luaopen_utf8, 1);'
        'luaL_requiref(l, "string", luaopen_string, 1);'
        'luaL_loadbuffer(l, data, size, "x"); lua_pcall(l, 0, 1, 0);'
        "hl_return_str(hl_cstr(lua_tostring(l, -1)));",
        wanted="0.909297 3 false 255.5",
        data=b"return string.format('%.6f %d %s %s', math.sin(2), 10 // 3,"
        b" pcall(error, 'x'), 0xff.8p0)",
        needs=("m",),
    ),
}


def missing(*headers: str) -> str | None:
    """The first that this system does not have."""
    folders = ("/usr/include", "/usr/include/x86_64-linux-gnu")
    for header in headers:
        if not any((Path(folder) / header).exists() for folder in folders):
            return header
    return None


@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_link_and_compute(
    driver: str, built: Build, name: str
) -> None:
    """Debian's, as they are, without a flag."""
    library = LIBRARIES[name]
    header = missing(*re.findall(r"[\w./]+\.h", library.header))
    if header:
        pytest.skip(f"no {header} to build with")
    for part in (name, *library.needs):
        need_library(part)
    program = built(
        "#include <hyperlight.h>\n#include <stdio.h>\n#include <string.h>\n"
        f"#include <{library.header}>\n"
        'HL_EXPORT(f, "F(bytes) -> str")'
        "{ static char out[4096], back[4096]; (void)out; (void)back;"
        "const char *data = hl_arg_bytes(0).data;"
        f"size_t size = hl_arg_bytes(0).size; {library.body} }}\n",
        name,
        *library.needs,
    )
    with opened(program, driver) as sandbox:
        assert sandbox.call("F", library.data) == library.wanted
        sandbox.restore()
        assert sandbox.call("F", library.data) == library.wanted


def test_sqlite_needs_more(tmp_path: Path) -> None:
    """And the error names what, so that nobody has to guess."""
    if header := missing("sqlite3.h"):
        pytest.skip(f"no {header} to build with")
    need_library("sqlite3")
    source = tmp_path / "guest.c"
    source.write_text(
        "#include <hyperlight.h>\n#include <sqlite3.h>\n"
        'HL_EXPORT(f, "F() -> none") { sqlite3 *d; '
        'sqlite3_open(":memory:", &d); }\n'
    )
    with pytest.raises(guest.GuestBuildError, match="`mmap64'"):
        guest.build(source, tmp_path / "guest", libraries=["sqlite3", "m"])


def test_the_documentation_names_what_is_tested() -> None:
    if not HOWTO.exists():
        pytest.skip("the documentation is not beside the tests")
    rows = re.findall(
        r"^\| `(.*)` \| (\w+).*\|$", HOWTO.read_text(), re.MULTILINE
    )
    wanted = {
        " ".join((name, *library.needs)): "yes"
        for name, library in LIBRARIES.items()
    }
    assert dict(rows) == {**wanted, "m": "yes", "sqlite3": "no"}
