// Kernels with planted faults. Each is its own corrected twin: compiled with FAULTY = 1 it does
// something wrong, with FAULTY = 0 it does not, and nothing else differs. The comment `//@ name`
// marks a line that a fault must name; the tests look it up.

typedef unsigned word;

#define KERNEL(name) extern "C" __global__ void name(const word *in, word *out, word *spare)

// The thread in its CTA and in the grid, and the lane in its warp.
#define T threadIdx.x
#define I (blockIdx.x * blockDim.x + threadIdx.x)
#define LANE (threadIdx.x % 32)

// Keeps the compiler, and nothing else, from moving accesses to memory past this line.
#define IN_ORDER() asm volatile("" ::: "memory")
