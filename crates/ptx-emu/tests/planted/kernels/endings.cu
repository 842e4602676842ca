// Kernels that give up, never end, or jump to nowhere.
#include "planted.h"

KERNEL(trap) {
    if (FAULTY && in[I] == in[70]) __trap();  //@ fault
    out[I] = in[I];
}

// What assert() makes of a condition.
KERNEL(assertion) {
    if (in[I] == in[70] + !FAULTY) __assertfail("in[I] != in[70]", "endings.cu", __LINE__, "assertion", 1);  //@ fault
    out[I] = in[I];
}

// Waits for a flag that nobody sets.
KERNEL(endless_loop) {
    if (!FAULTY && T == 0) atomicExch(spare, 1);
    while (*(volatile word *)spare == 0) {}  //@ fault
    out[I] = in[I];
}

KERNEL(branch_beyond_its_table) {
    unsigned which = FAULTY && I == 70 ? 3 : I % 3;
    word v = in[I];
    asm volatile("{ targets: .branchtargets same, half, none;\n"
                 "brx.idx %1, targets;\n"
                 "half: shr.u32 %0, %0, 1;\n bra same;\n"
                 "none: mov.u32 %0, 0;\n"
                 "same: }"
                 : "+r"(v)
                 : "r"(which));  //@ fault
    out[I] = v;
}
