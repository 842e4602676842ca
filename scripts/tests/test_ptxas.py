"""What a report of ptxas says of local memory."""

import unittest

from ptxas import spills

REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_90'
ptxas info    : Function properties for first
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 87 registers, 4480 bytes smem
ptxas info    : Compiling entry function 'second' for 'sm_90'
ptxas info    : Function properties for second
    8 bytes stack frame, 16 bytes spill stores, 20 bytes spill loads
ptxas info    : Used 64 registers, 3088 bytes smem
"""


class Spills(unittest.TestCase):
    def test_the_kernel_is_named(self) -> None:
        self.assertEqual(
            spills(REPORT), ["second: 8 bytes stack frame, 16 bytes spill stores, 20 bytes spill loads"]
        )

    def test_there_may_be_none(self) -> None:
        self.assertEqual(spills(REPORT.partition("ptxas info    : Compiling entry function 'second'")[0]), [])


if __name__ == "__main__":
    unittest.main()
