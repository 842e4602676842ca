"""Registers that share a number, and those that must not."""

import unittest

from ptx_registers import Conflict, UnknownFlow, allocate, blocks_of, check, solve, split, with_shared_registers


def kernel(*statements: str) -> str:
    return "\n".join([".visible .entry k(", ")", "{", ".reg .pred %p<9>;", ".reg .b32 %r<9>;", *statements, "}", ""])


class Registers(unittest.TestCase):
    def assert_becomes(self, statements: list[str], wanted: list[str], count: int) -> None:
        text = with_shared_registers(kernel(*statements))
        self.assertIn(f".reg .b32 %r<{count + 1}>;", text)
        self.assertEqual(text.split("\n")[5 : 5 + len(wanted)], wanted)

    def test_values_one_after_the_other_share_a_number(self) -> None:
        self.assert_becomes(
            ["mov.u32 %r1,1;", "st.global.b32 [%r1],%r1;", "mov.u32 %r2,2;", "st.global.b32 [%r2],%r2;", "ret;"],
            ["mov.u32 %r1,1;", "st.global.b32 [%r1],%r1;", "mov.u32 %r1,2;", "st.global.b32 [%r1],%r1;", "ret;"],
            1,
        )

    def assert_keeps_both(self, *start: str) -> None:
        """In a loop that begins so and needs %r1 in every turn, after %r2 has been written."""
        turn = ["st.global.b32 [%r1],%r1;", "mov.u32 %r2,2;", "setp.lt.u32 %p1,%r2,9;", "@%p1 bra $L__BB0_1;", "ret;"]
        self.assert_becomes([*start, *turn], [*start, *turn], 2)

    def test_what_the_next_turn_of_a_loop_needs_is_kept(self) -> None:
        self.assert_keeps_both("mov.u32 %r1,1;", "$L__BB0_1:")

    def test_a_guarded_write_may_leave_the_value_of_the_turn_before(self) -> None:
        self.assert_keeps_both("$L__BB0_1:", "@%p1 mov.u32 %r1,1;")

    def test_flow_that_is_not_known_is_refused(self) -> None:
        with self.assertRaises(UnknownFlow):
            with_shared_registers(kernel("brx.idx %r1,$L_table;", "ret;"))

    def test_a_shared_number_of_two_that_are_needed_is_found(self) -> None:
        statements = list(split("mov.u32 %r1,1;\nmov.u32 %r2,2;\nst.global.b32 [%r1],%r2;\nret;"))
        names = ["%r1", "%r2"]
        blocks = blocks_of(statements, {"%r1": 1, "%r2": 2})
        solve(blocks)
        # As if each were needed where it is written only.
        numbers = allocate(names, {"%r1": 0, "%r2": 1}, {"%r1": 0, "%r2": 1})
        with self.assertRaises(Conflict):
            check(statements, blocks, numbers, names)


if __name__ == "__main__":
    unittest.main()
