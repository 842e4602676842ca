"""The structures of the C library, and where it is built, what it computes."""

import array
import unittest

from warpnorm_peers import abi, formulas, ops

from .by_hand import Rows, as_rows, data, flat, from_bf16, from_e4m3

HEADER = """
// A comment; with WARPNORM_NOT = 9, in it.
#define WARPNORM_FLAG 1
enum warpnorm_kind { WARPNORM_KIND_A = 0, // one
    WARPNORM_KIND_B = 7,
};
typedef struct warpnorm_inner {
    // What; it is.
    uint32_t kind;
    const void *data;
} warpnorm_inner;
typedef struct warpnorm_outer {
    float eps;
    struct warpnorm_inner inner;
    float *mean;
    size_t rows;
} warpnorm_outer;
"""

ROWS, HIDDEN = 3, 40

# Of what f32 sums give.
NEAR = 3e-6


def built(test, name):
    """What cargo has built of this name last; where it has built nothing, the test is skipped."""
    there = [path for profile in ("release", "debug") if (path := abi.ROOT / "target" / profile / name).exists()]
    if not there:
        test.skipTest(f"no {name} in target")
    return max(there, key=lambda path: path.stat().st_mtime)


def library_on_cpu(test):
    """The library, with the CPU for its device."""
    library = abi.Library(built(test, "libwarpnorm.so"))
    library.open_cpu()
    test.addCleanup(library.close)
    return library


class Memory:
    """Host memory of a call: arrays of the type's bits by the names of the tensors."""

    def __init__(self, op, dtype, tensors):
        self.op, self.dtype = op, dtype
        self.arrays = {name: flat(values, dtype) for name, values in vars(tensors).items()}
        if "tensor_scale" in op.inputs:
            self.arrays["tensor_scale"] = array.array("f", [ops.TENSOR_SCALE])
        for name in op.outputs:
            code = "B" if name == "codes" else "f" if name == "scales" or dtype == "f32" else "H"
            count = op.bytes_of(name, ROWS, HIDDEN, dtype) // array.array(code).itemsize
            # Ones alone are no number in any type.
            self.arrays[name] = array.array(code, b"\xff" * (count * array.array(code).itemsize))
        address = lambda name: self.arrays[name].buffer_info()[0]
        self.places = {name: abi.Place(address(name), self.stride(name)) for name in self.arrays}
        if op.second_heads:
            self.pack()

    def stride(self, name):
        heads = {"x": self.op.heads, "y": self.op.heads, "second_x": self.op.second_heads}
        return HIDDEN * (heads | {"second_y": self.op.second_heads}).get(name, 1)

    def pack(self):
        """x and second_x side by side in rows that go on."""
        heads, second = self.op.heads * HIDDEN, self.op.second_heads * HIDDEN
        stride, packed = heads + 2 * second, array.array(self.arrays["x"].typecode)
        for row in range(ROWS):
            packed += self.arrays["x"][row * heads : (row + 1) * heads]
            packed += self.arrays["second_x"][row * second : (row + 1) * second]
            packed += array.array(packed.typecode, bytes(second * packed.itemsize))
        self.arrays["packed"], start = packed, packed.buffer_info()[0]
        self.places["x"] = abi.Place(start, stride)
        self.places["second_x"] = abi.Place(start + heads * packed.itemsize, stride)

    def output(self, name):
        """An output in numbers; heads are rows of their own."""
        values = self.arrays[name]
        if name == "codes":
            values = list(map(from_e4m3, values))
        elif values.typecode == "H":
            values = list(map(from_bf16, values))
        width = 1 if name == "scales" else HIDDEN
        return Rows([list(values[start : start + width]) for start in range(0, len(values), width)])


class AbiTest(unittest.TestCase):
    def test_structures_are_those_of_the_header(self):
        structures, values = abi.parse_header(HEADER)
        self.assertEqual(values, {"WARPNORM_FLAG": 1, "WARPNORM_KIND_A": 0, "WARPNORM_KIND_B": 7})
        outer = structures["warpnorm_outer"]
        self.assertEqual([name for name, _ in outer._fields_], ["eps", "inner", "mean", "rows"])
        self.assertEqual((outer.inner.offset, outer.mean.offset, outer.rows.offset), (8, 24, 32))
        with self.assertRaises(abi.LibraryError):
            abi.parse_header("typedef struct warpnorm_x {\n unknown y;\n} warpnorm_x;")

    def test_every_field_and_value_that_is_used_is_in_the_header(self):
        structures, values = abi.parse_header((abi.ROOT / abi.HEADER).read_text(encoding="utf-8"))
        library = abi.Library.__new__(abi.Library)
        library.structures, library.values = structures, values
        # A library whose functions do nothing.
        library.lib = type("Nothing", (), {"__getattr__": lambda self, _: lambda *_: 0})()
        for op in ops.OPS:
            names = ("x", *op.inputs, *op.outputs)
            places = {name: abi.Place(4096 * place, place) for place, name in enumerate(names, 1)}
            norm, call = library.norm(op), library.call(op, "bf16", ROWS, HIDDEN, places)
            self.assertEqual(call.x.data, 4096)
            self.assertEqual(norm.scope != values["WARPNORM_SCOPE_ROW"], op.heads > 1)
            self.assertEqual(call.programmatic_launch, values["WARPNORM_PROGRAMMATIC_LAUNCH_OFF"])
            early = library.call(op, "bf16", ROWS, HIDDEN, places, programmatic=True)
            self.assertEqual(early.programmatic_launch, values["WARPNORM_PROGRAMMATIC_LAUNCH_WAIT_FIRST"])
            # What is made of y before it is rounded is not to be told from the other by its error.
            scaling = {None: "NONE", ops.PER_TENSOR: "PER_TENSOR_WIDE", ops.PER_TOKEN: "PER_TOKEN"}[op.scaling]
            self.assertEqual(norm.quantisation.scaling, values[f"WARPNORM_SCALING_KIND_{scaling}"])
            for name in names:
                held = getattr(call.second, name[7:]) if name.startswith("second_") else getattr(call, name)
                address = held if isinstance(held, int) else held.data
                self.assertEqual(address, places[name].address, f"{op.title}: {name}")

    def test_a_library_that_is_not_there_says_so(self):
        with self.assertRaises(abi.LibraryError):
            abi.Library(abi.find_library("/missing/libwarpnorm.so"))

    def test_the_library_computes_the_formulas(self):
        library = library_on_cpu(self)
        for op in ops.OPS:
            tensors = data(op, ROWS, HIDDEN)
            # There are no codes of f32.
            dtype = "bf16" if op.scaling else "f32"
            memory = Memory(op, dtype, tensors)
            library.run(library.norm(op), library.call(op, dtype, ROWS, HIDDEN, memory.places))
            result = {name: memory.output(name) for name in op.outputs}
            formulas.verified(op, dtype, as_rows(tensors), result)
            wanted = formulas.expected(op, as_rows(tensors))
            for name in op.outputs:
                if dtype == "f32":
                    for got, row in zip(result[name].rows, wanted[name].rows):
                        for a, b in zip(got, row):
                            self.assertAlmostEqual(a, b, delta=NEAR * (1 + abs(b)), msg=f"{op.title}: {name}")


if __name__ == "__main__":
    unittest.main()
