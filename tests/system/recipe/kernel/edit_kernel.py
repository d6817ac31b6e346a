"""Two changes to the kernel's source, made in its top directory.

Counters: how many system calls and page faults user programs made, as
/sys/module/um_count/parameters/{syscalls,faults}. Each costs microseconds more than on a real
processor, and `make bench WHAT=openzfs` takes that price off again.

Checksums: btrfs's crc32c by the processor's instruction, as a kernel on x86 has it.
"""

from pathlib import Path

COUNTERS = """#include <asm/delay.h>
#include <linux/module.h>
#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "um_count."
unsigned long um_syscalls, um_faults;
module_param_named(syscalls, um_syscalls, ulong, 0444);
module_param_named(faults, um_faults, ulong, 0444);
"""
BY_TABLE = """	while (len--)
		crc = (crc >> 8) ^ crc32ctable_le[(crc & 255) ^ *p++];
	return crc;
"""
BY_INSTRUCTION = """	unsigned long c = crc;

	for (; len >= 8; len -= 8, p += 8)
		asm("crc32q %1, %0" : "+r" (c) : "rm" (*(const unsigned long *)p));
	crc = c;
	for (; len; len--, p++)
		asm("crc32b %1, %0" : "+r" (crc) : "rm" (*p));
	return crc;
"""


def edit(name: str, *pairs: tuple[str, str]) -> None:
    """Replace the first occurrence of each text; fail if it is not there any more."""
    path = Path(name)
    text = path.read_text(encoding="utf-8")
    for old, new in pairs:
        if old not in text:
            raise SystemExit(f"{name} has changed: {old!r} is not in it")
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    number = "	/* Initialize the syscall number and default return value. */"
    edit(
        "arch/um/kernel/skas/syscall.c",
        ("#include <asm/delay.h>\n", COUNTERS),
        (number, f"	um_syscalls++;\n{number}"),
    )
    handler = "void segv_handler("
    edit("arch/um/kernel/trap.c", (handler, f"extern unsigned long um_faults;\n{handler}"))
    edit(
        "arch/um/kernel/trap.c",
        ("\n	if (UPT_IS_USER(regs)", "\n	um_faults++;\n	if (UPT_IS_USER(regs)"),
    )
    edit("lib/crc/crc32-main.c", (BY_TABLE, BY_INSTRUCTION))
