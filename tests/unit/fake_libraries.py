"""libnvpair and libzfs_core as Python calls them by ctypes, on lists that are dictionaries."""

import ctypes
import errno
from collections.abc import Callable
from typing import Any


class Function:
    """A function of a library: it can be called, and told what it returns."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        self.restype: object = ctypes.c_int

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)


class FakeNvpair:
    """libnvpair: `lists` are those that were made and not freed."""

    def __init__(self) -> None:
        self.lists: dict[int, dict[str, Any]] = {}
        self._next = 1000
        self.refuses = ""
        for name in ("add_boolean", "add_string", "add_string_array", "lookup_int64"):
            setattr(self, f"nvlist_{name}", Function(self._refusing(name)))
        self.nvlist_alloc = Function(self._alloc)
        self.nvlist_free = Function(self._free)

    def make(self, values: dict[str, Any]) -> int:
        """Return a new list with these values."""
        self._next += 1
        self.lists[self._next] = values
        return self._next

    def _refusing(self, name: str) -> Callable[..., object]:
        function = getattr(self, f"_{name}")
        return lambda *arguments: errno.ENOMEM if self.refuses == name else function(*arguments)

    def _alloc(self, place: Any, flag: int, _: int) -> int:
        assert flag == 1, "names are unique"
        place._obj.value = self.make({})
        return 0

    def _free(self, made: ctypes.c_void_p) -> None:
        del self.lists[made.value or 0]

    def _add_boolean(self, made: ctypes.c_void_p, name: bytes) -> int:
        self.lists[made.value or 0][name.decode()] = True
        return 0

    def _add_string(self, made: ctypes.c_void_p, name: bytes, text: bytes) -> int:
        self.lists[made.value or 0][name.decode()] = text.decode()
        return 0

    def _add_string_array(self, made: ctypes.c_void_p, name: bytes, texts: Any, count: int) -> int:
        self.lists[made.value or 0][name.decode()] = [
            texts[index].decode() for index in range(count)
        ]
        return 0

    def _lookup_int64(self, made: ctypes.c_void_p, name: bytes, place: Any) -> int:
        found = self.lists[made.value or 0].get(name.decode())
        if found is None:
            return errno.ENOENT
        place._obj.value = found
        return 0


class FakeLibzfsCore:
    """libzfs_core: it records its calls; `answers` are the numbers of their errors, by name.

    `returned` is what the next channel program returns; None if it returns nothing.
    """

    def __init__(self, nvpair: FakeNvpair) -> None:
        self._nvpair = nvpair
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, int] = {}
        self.returned: int | None = 0
        self.opened = 0
        self.there: set[str] = set()
        self.lookup_errno = errno.ENOENT
        self.libzfs_core_init = Function(self._init)
        self.libzfs_core_fini = Function(self._fini)
        self.lzc_exists = Function(self._exists)
        self.lzc_snapshot = Function(self._snapshot)
        self.lzc_destroy_snaps = Function(self._destroy_snaps)
        self.lzc_channel_program = Function(self._channel_program)

    def _init(self) -> int:
        number = self.answers.get("init", 0)
        self.opened += not number
        return number

    def _fini(self) -> None:
        self.opened -= 1

    def _exists(self, name: bytes) -> int:
        assert self.opened == 1
        ctypes.set_errno(self.lookup_errno)
        return name.decode() in self.there

    def _snapshot(self, names: ctypes.c_void_p, texts: ctypes.c_void_p, errors: Any) -> int:
        errors._obj.value = self._nvpair.make({})
        return self._called("snapshot", self._list(names), self._list(texts))

    def _destroy_snaps(self, names: ctypes.c_void_p, is_deferred: int, errors: Any) -> int:
        errors._obj.value = self._nvpair.make({})
        return self._called("destroy_snaps", self._list(names), is_deferred)

    def _channel_program(self, pool: bytes, program: bytes, *arguments: Any) -> int:
        instructions, memory, given, answer = arguments
        assert instructions.value
        assert memory.value
        answer._obj.value = self._nvpair.make(
            {} if self.returned is None else {"return": self.returned}
        )
        return self._called("channel_program", pool, program, self._list(given))

    def _called(self, name: str, *arguments: object) -> int:
        assert self.opened == 1, "/dev/zfs is open during the call"
        self.calls.append((name, *arguments))
        return self.answers.get(name, 0)

    def _list(self, made: ctypes.c_void_p) -> dict[str, Any]:
        return dict(self._nvpair.lists[made.value or 0])
