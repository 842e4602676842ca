// Shuffles, votes and barriers that the wrong threads reach, or that name the wrong ones.
#include "planted.h"

KERNEL(shuffle_without_itself) {
    word v = in[I];
    out[I] = __shfl_xor_sync(FAULTY ? 0x7fffffff : 0xffffffff, v, 1);  //@ fault
}

KERNEL(vote_without_itself) {
    out[I] = __ballot_sync(FAULTY ? 0x7fffffff : 0xffffffff, in[I] % 2);  //@ fault
}

KERNEL(shuffle_with_exited_lanes) {
    if (LANE >= 16) return;
    word v = in[I];
    out[I] = __shfl_xor_sync(FAULTY ? 0xffffffff : 0x0000ffff, v, 1);  //@ fault
}

KERNEL(vote_with_exited_lanes) {
    if (LANE >= 16) return;
    out[I] = __ballot_sync(FAULTY ? 0xffffffff : 0x0000ffff, in[I] % 2);  //@ fault
}

KERNEL(match_with_exited_lanes) {
    if (LANE >= 16) return;
    out[I] = __match_any_sync(FAULTY ? 0xffffffff : 0x0000ffff, in[I] % 3);  //@ fault
}

KERNEL(warp_barrier_with_exited_lanes) {
    if (LANE >= 16) return;
    __syncwarp(FAULTY ? 0xffffffff : 0x0000ffff);  //@ fault
    out[I] = in[I];
}

// The lanes are there at first, and leave while the others wait for them.
KERNEL(shuffle_with_lanes_that_exit) {
    word v = in[I];
    if (LANE < 16) {
        v = __shfl_xor_sync(FAULTY ? 0xffffffff : 0x0000ffff, v, 1);  //@ fault
    } else {
        for (word k = 0; k < in[I] % 8; k++) v = v * 3 + 1;
    }
    out[I] = v;
}

// Half a warp waits for the other half, which waits at a barrier for it.
KERNEL(shuffle_with_lanes_elsewhere) {
    word v = in[I];
    if (FAULTY && LANE >= 16) __syncthreads();  //@ fault
    if (LANE < 16) v = __shfl_xor_sync(FAULTY ? 0xffffffff : 0x0000ffff, v, 1);  //@ fault
    if (!FAULTY || LANE < 16) __syncthreads();
    out[I] = v;
}

// Both halves of a warp name all lanes, in shuffles that are not the same.
KERNEL(shuffles_of_different_branches) {
    word v = in[I];
    if (!FAULTY) {
        v = __shfl_xor_sync(0xffffffff, v, LANE < 16 ? 1 : 2);
    } else if (LANE < 16) {
        v = __shfl_xor_sync(0xffffffff, v, 1);  //@ fault
    } else {
        v = __shfl_xor_sync(0xffffffff, v, 2);  //@ fault
    }
    out[I] = v;
}

// The halves of a warp do not agree on who takes part.
KERNEL(masks_that_differ) {
    word v = in[I];
    unsigned mask = FAULTY ? (LANE < 16 ? 0x0000ffff : 0xffffffff) : 0xffffffff;
    if (FAULTY && LANE < 16) {
        v = __shfl_xor_sync(mask, v, 1);
    } else {
        v = __shfl_xor_sync(mask, v, 1);  //@ fault
    }
    out[I] = v;
}

KERNEL(barrier_in_divergent_code) {
    word v = in[I];
    if (FAULTY && LANE < 16) {
        v++;
        __syncthreads();  //@ fault
        v--;
    } else {
        __syncthreads();  //@ fault
    }
    out[I] = v;
}

// Barrier 0 of half a warp, barrier 1 of the other half.
KERNEL(barriers_of_half_a_warp) {
    if (FAULTY && LANE < 16) {
        asm volatile("barrier.sync 1;" ::: "memory");  //@ fault
    } else {
        asm volatile("barrier.sync 0;" ::: "memory");  //@ fault
    }
    out[I] = in[I];
}

KERNEL(lanes_that_name_different_barriers) {
    unsigned id = FAULTY ? T % 2 : 0;
    asm volatile("barrier.sync %0;" ::"r"(id) : "memory");  //@ fault
    out[I] = in[I];
}

KERNEL(count_that_is_no_multiple_of_32) {
    unsigned threads = in[I] ? (FAULTY ? 48 : 64) : 32;
    asm volatile("bar.sync 1, %0;" ::"r"(threads) : "memory");  //@ fault
    out[I] = in[I];
}

KERNEL(counts_that_differ) {
    if (FAULTY && T / 32 == 1) {
        asm volatile("bar.sync 1, 96;" ::: "memory");  //@ fault
    } else if (T < 64) {
        asm volatile("bar.sync 1, 64;" ::: "memory");  //@ fault
    }
    out[I] = in[I];
}

KERNEL(barrier_of_warps_that_have_exited) {
    out[I] = in[I];
    if (T >= 64) return;
    asm volatile("bar.sync 1, %0;" ::"n"(FAULTY ? 96 : 64) : "memory");  //@ fault
    out[I] = in[I ^ 32];
}

KERNEL(count_beyond_the_cta) {
    asm volatile("bar.sync 1, %0;" ::"n"(FAULTY ? 96 : 64) : "memory");  //@ fault
    out[I] = in[I];
}

KERNEL(barrier_number_16) {
    unsigned id = FAULTY && T >= 32 ? 16 : 15;
    if (T >= 32) asm volatile("barrier.sync %0, 32;" ::"r"(id) : "memory");  //@ fault
    out[I] = in[I];
}

KERNEL(barriers_of_different_numbers) {
    unsigned id = T >= 32 ? 1 + FAULTY : 1;
    asm volatile("bar.sync %0, 64;" ::"r"(id) : "memory");  //@ fault
    out[I] = in[I];
}
