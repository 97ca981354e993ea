"""The smallest program that a container can run: it says hello and ends well (ELF, x86-64, no libraries)."""

from __future__ import annotations

import struct

SAYS = "hello from the container"


def hello_program() -> bytes:
    """A static executable."""
    text = f"{SAYS}\n".encode()
    base, headers = 0x400000, 64 + 56
    code_size = 33
    code = b"".join(
        (
            b"\xb8\x01\x00\x00\x00",  # mov eax, 1 (write)
            b"\xbf\x01\x00\x00\x00",  # mov edi, 1 (stdout)
            b"\xbe" + struct.pack("<I", base + headers + code_size),  # mov esi, text
            b"\xba" + struct.pack("<I", len(text)),  # mov edx, its length
            b"\x0f\x05",  # syscall
            b"\xb8\x3c\x00\x00\x00",  # mov eax, 60 (exit)
            b"\x31\xff",  # xor edi, edi
            b"\x0f\x05",  # syscall
        )
    )
    code = code.ljust(code_size, b"\x90")
    size = headers + len(code) + len(text)
    elf = b"\x7fELF\x02\x01\x01" + bytes(9)
    elf += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return elf + segment + code + text
