"""Libraries that nobody here wrote link into guests and compute there."""

from __future__ import annotations

import bz2
import functools
import lzma
import math
import re
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from built import MARKS, Build, built, need_library, opened

from hyperlight import Program, SandboxConfig, guest

__all__ = ["built"]  # a fixture

pytestmark = MARKS

HERE = Path(__file__).parent
HOWTO = HERE.parents[1] / "docs/howto/write-guest.md"
TEXT = b"<a><b/></a>"


class Library(NamedTuple):
    """One call into it; `data` and `size` are the argument."""

    package: str
    header: str
    body: str
    wanted: str = TEXT.decode()
    data: bytes = TEXT
    needs: tuple[str, ...] = ()
    but: str = ""  # what of it does not link


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
        "liblz4-dev",
        "lz4.h",
        "int n = LZ4_compress_default(data, out, (int)size, sizeof out);"
        "n = LZ4_decompress_safe(out, back, n, sizeof back);"
        "hl_return_str(hl_view(back, (size_t)n));",
    ),
    "zstd": Library(
        "libzstd-dev",
        "zstd.h",
        "size_t n = ZSTD_compress(out, sizeof out, data, size, 3);"
        "n = ZSTD_decompress(back, sizeof back, out, n);"
        "hl_return_str(hl_view(back, n));",
    ),
    "lzma": Library(
        "liblzma-dev",
        "lzma.h",
        "size_t in = 0, n = 0; uint64_t limit = 64 << 20;"
        "lzma_stream_buffer_decode(&limit, 0, NULL, (const void *)data, &in,"
        "size, (void *)out, &n, sizeof out);" + RETURN_OUT,
        data=lzma.compress(TEXT, preset=0),
    ),
    "brotlidec": Library(
        "libbrotli-dev",
        "brotli/decode.h",
        "size_t n = sizeof out; BrotliDecoderDecompress("
        "size, (const void *)data, &n, (void *)out);" + RETURN_OUT,
        wanted="hello",
        data=b"\x0b\x02\x80hello\x03",
        needs=("brotlicommon",),
    ),
    "brotlienc": Library(
        "libbrotli-dev",
        "brotli/encode.h>\n#include <brotli/decode.h",
        "size_t n = sizeof out, m = sizeof back; BrotliEncoderCompress("
        "5, 18, 0, size, (const void *)data, &n, (void *)out);"
        "BrotliDecoderDecompress(n, (void *)out, &m, (void *)back);"
        "hl_return_str(hl_view(back, m));",
        needs=("brotlidec", "brotlicommon", "m"),
    ),
    "xxhash": Library(
        "libxxhash-dev",
        "xxhash.h",
        'hl_return_format("%lx", (unsigned long)XXH64(data, size, 0));',
        wanted="d24ec4f1a98c6e5b",
        data=b"a",
    ),
    "deflate": Library(
        "libdeflate-dev",
        "libdeflate.h",
        "size_t n = 0; libdeflate_zlib_decompress("
        "libdeflate_alloc_decompressor(), data, size, out, sizeof out, &n);"
        + RETURN_OUT,
        data=zlib.compress(TEXT),
    ),
    "z": Library(
        "zlib1g-dev",
        "zlib.h",
        "unsigned long n = sizeof out;"
        "uncompress((void *)out, &n, (const void *)data, size);" + RETURN_OUT,
        data=zlib.compress(TEXT),
    ),
    "gmp": Library(
        "libgmp-dev",
        "gmp.h",
        "mpz_t a; mpz_init_set_ui(a, size); mpz_pow_ui(a, a, 40);"
        "hl_return_str(hl_cstr(mpz_get_str(NULL, 10, a)));",
        wanted=str(11**40),
    ),
    "bz2": Library(
        "libbz2-dev",
        "bzlib.h",
        "unsigned n = sizeof out; BZ2_bzBuffToBuffDecompress("
        "out, &n, (char *)(uintptr_t)data, (unsigned)size, 0, 0);"
        + RETURN_OUT,
        data=bz2.compress(TEXT, 1),
    ),
    "expat": Library(
        "libexpat1-dev",
        "expat.h",
        "XML_Parser p = XML_ParserCreate(NULL);"
        "int ok = XML_Parse(p, data, (int)size, 1);"
        'hl_return_format("%d %lu", ok, XML_GetCurrentColumnNumber(p));',
        wanted="1 11",
    ),
    "yaml": Library(
        "libyaml-dev",
        "yaml.h",
        "yaml_parser_t p; yaml_event_t e; yaml_parser_initialize(&p);"
        "yaml_parser_set_input_string(&p, (const void *)data, size);"
        "do yaml_parser_parse(&p, &e); while (e.type < YAML_SCALAR_EVENT);"
        "hl_return_str(hl_cstr((char *)e.data.scalar.value));",
    ),
    "jansson": Library(
        "libjansson-dev",
        "jansson.h",
        "json_t *j = json_loadb(data, size, 0, NULL);"
        "hl_return_str(hl_cstr(json_dumps(j, JSON_COMPACT)));",
        wanted='{"a":[1,-2.5,"\u00e9"]}',
        data=b'{ "a": [1, -25e-1, "\\u00e9"] }',
    ),
    "jpeg": Library(
        "libjpeg-dev",
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
        "libpng-dev",
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
        "liblua5.4-dev",
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
        but="`io`, `os` and `package`, and so `luaL_openlibs`",
    ),
    "m": Library(
        "libc6-dev",
        "math.h",
        # As many digits as tell a number from all others.
        'hl_return_format("%.17g", sin((double)size));',
        wanted=format(math.sin(11), ".17g"),
        but="functions of `_Float128`",
    ),
}


class Refused(NamedTuple):
    """What does not link, by one call into it, for want of these."""

    package: str
    header: str
    body: str
    lacks: tuple[str, ...]
    needs: tuple[str, ...] = ("m",)


REFUSED = {
    "sqlite3": Refused(
        "libsqlite3-dev",
        "sqlite3.h",
        'sqlite3 *d; sqlite3_open(":memory:", &d);',
        ("mmap64", "pthread_mutex_lock", "stat64", "dlopen"),
    ),
    "lua5.4": Refused(
        "liblua5.4-dev",
        "lua5.4/lauxlib.h>\n#include <lua5.4/lualib.h",
        "luaL_openlibs(luaL_newstate());",
        ("popen", "strftime", "dlopen"),
    ),
    "m": Refused(
        "libc6-dev",
        "math.h",
        "_Float128 log2f128(_Float128); volatile _Float128 x = 2;"
        "x = log2f128(x);",
        ("__frexpf128",),
        needs=(),
    ),
}

#: Programs of tests/c that have them inside, and what these print.
PROGRAMS = {"sqlite3": "sqlite", "lua5.4": "lua"}
PRINTED = {
    "sqlite3": ["sum(x) 42.0", "y B"],
    "lua5.4": [
        "0.909297 3",
        "line\t/\tnumber",
        "nil\t/none: No such file or directory\t2",
        "true\ttrue",
    ],
}


def missing(*headers: str) -> str | None:
    """The first that this system does not have."""
    folders = ("/usr/include", "/usr/include/x86_64-linux-gnu")
    for header in headers:
        if not any((Path(folder) / header).exists() for folder in folders):
            return header
    return None


def need(name: str, library: Library | Refused) -> None:
    header = missing(*re.findall(r"[\w./]+\.h", library.header))
    if header and name != "m":
        pytest.skip(f"no {header} to build with: {library.package} has it")
    for part in (name, *library.needs):
        need_library(part, library.package)


def text(library: Library | Refused, signature: str, body: str) -> str:
    return (
        "#include <hyperlight.h>\n#include <stdio.h>\n#include <string.h>\n"
        f'#include <{library.header}>\nHL_EXPORT(f, "F{signature}")'
        f"{{ {body} {library.body} }}\n"
    )


@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_link_and_compute(
    driver: str, built: Build, name: str
) -> None:
    """Debian's, as they are, without a flag."""
    library = LIBRARIES[name]
    need(name, library)
    body = (
        "static char out[4096], back[4096]; (void)out; (void)back;"
        "const char *data = hl_arg_bytes(0).data; (void)data;"
        "size_t size = hl_arg_bytes(0).size;"
    )
    program = built(
        text(library, "(bytes) -> str", body), name, *library.needs
    )
    with opened(program, driver) as sandbox:
        assert sandbox.call("F", library.data) == library.wanted
        sandbox.restore()
        assert sandbox.call("F", library.data) == library.wanted


@pytest.mark.parametrize("name", REFUSED)
def test_the_linker_names_what_libraries_lack(built: Build, name: str) -> None:
    library = REFUSED[name]
    need(name, library)
    with pytest.raises(guest.GuestBuildError) as caught:
        built(text(library, "() -> none", ""), name, *library.needs)
    for symbol in library.lacks:
        assert f"undefined reference to `{symbol}'" in str(caught.value)


def in_native(name: str) -> str:
    if name in LIBRARIES:
        but = LIBRARIES[name].but
        return f"yes, but for {but}" if but else "yes"
    first = ", ".join(f"`{symbol}`" for symbol in REFUSED[name].lacks)
    return f"no: lacks {first} and others"


def test_the_documentation_names_what_is_tested() -> None:
    if not HOWTO.exists():
        pytest.skip("the documentation is not beside the tests")
    libraries: dict[str, Library | Refused] = {**REFUSED, **LIBRARIES}
    wanted = {
        (
            f"`{' '.join((name, *library.needs))}`",
            f"`{library.package}`",
            in_native(name),
            "yes, in a program" if name in PROGRAMS else "",
        )
        for name, library in libraries.items()
    }
    rows = re.findall(r"^\| `.*\|$", HOWTO.read_text(), re.MULTILINE)
    found = [tuple(map(str.strip, row.split("|")[1:-1])) for row in rows]
    assert set(found) == wanted
    assert len(found) == len(wanted)


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """linked(library): the program of tests/c that has it, for Linux."""

    @functools.cache
    def link(name: str) -> Path:
        need(name, REFUSED[name])
        target = tmp_path_factory.mktemp("linked") / PROGRAMS[name]
        source = HERE.parent / "c/programs" / f"{target.name}.c"
        libraries = [f"-l{part}" for part in (name, *REFUSED[name].needs)]
        command = ["cc", "-static", str(source), "-o", str(target), *libraries]
        subprocess.run(command, check=True, capture_output=True)
        return target

    return link


@pytest.mark.parametrize("name", PROGRAMS)
def test_libraries_that_want_a_kernel_run_in_a_program(
    driver: str, linked: Callable[[str], Path], name: str
) -> None:
    config = SandboxConfig(driver=driver, call_timeout=60)
    done = Program([linked(name)], config=config).run(b"line\n")
    assert (done.exit_code, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == PRINTED[name]
