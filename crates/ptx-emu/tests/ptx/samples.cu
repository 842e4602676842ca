// Small kernels with what compilers make of them: reductions, clusters, calls, divergence.
// scripts/test_ptx.sh makes samples.sm_75.ptx with NVRTC 12.2, samples.sm_90.ptx with nvcc 13.0.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

struct RmsArgs {
    const uint4* x;
    uint4* y;
    const float* weight;
    long long rows;
    long long stride;  // in chunks of eight elements
    int hidden;
    float eps;
};

__device__ float block_sum(float v) {
    __shared__ float partial[32];
    for (int offset = 16; offset; offset >>= 1) v += __shfl_down_sync(0xffffffffu, v, offset);
    if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = v;
    __syncthreads();
    float total = 0;
    for (int i = 0; i < (int)blockDim.x / 32; i++) total += partial[i];
    __syncthreads();
    return total;
}

// One row of f16 per CTA.
extern "C" __global__ void __launch_bounds__(256) rms_f16(const __grid_constant__ RmsArgs args) {
    long long row = blockIdx.x;
    if (row >= args.rows) return;
    const uint4* x = args.x + row * args.stride;
    float acc = 0;
    for (int i = threadIdx.x; i < args.hidden / 8; i += blockDim.x) {
        uint4 chunk = x[i];
        const __half2* h = (const __half2*)&chunk;
        for (int k = 0; k < 4; k++) {
            float2 f = __half22float2(h[k]);
            acc = fmaf(f.x, f.x, acc);
            acc = fmaf(f.y, f.y, acc);
        }
    }
    float rstd = 1.0f / sqrtf(block_sum(acc) / args.hidden + args.eps);
    for (int i = threadIdx.x; i < args.hidden / 8; i += blockDim.x) {
        uint4 chunk = x[i];
        __half2* h = (__half2*)&chunk;
        for (int k = 0; k < 4; k++) {
            float2 f = __half22float2(h[k]);
            const float* w = args.weight + i * 8 + 2 * k;
            h[k] = __floats2half2_rn(f.x * rstd * w[0], f.y * rstd * w[1]);
        }
        args.y[row * args.stride + i] = chunk;
    }
}

// Functions of the maths library, a local array with a computed index, dynamic shared memory.
extern "C" __global__ void maths(const float* a, float* b, __nv_bfloat16* c, const int* index, int n) {
    extern __shared__ float dynamic[];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = a[i];
    float local[8];
    for (int k = 0; k < 8; k++) local[k] = v * k;
    local[index[i] & 7] = 3.0f;
    dynamic[threadIdx.x] = v;
    b[i * 8 + 0] = expf(v);
    b[i * 8 + 1] = logf(v);
    b[i * 8 + 2] = tanhf(v);
    b[i * 8 + 3] = v / 3.0f;
    b[i * 8 + 4] = local[(index[i] >> 3) & 7];
    b[i * 8 + 5] = rsqrtf(v);
    b[i * 8 + 6] = erff(v);
    b[i * 8 + 7] = sinf(v * 100.0f) + dynamic[threadIdx.x];
    c[i] = __float2bfloat16(v * __bfloat162float(c[i]));
}

// Every thread follows its own path; a histogram in shared memory; votes and matches.
extern "C" __global__ void paths(unsigned* y, long long* x, double* d, int n) {
    __shared__ unsigned histogram[16];
    int i = threadIdx.x;
    if (i < 16) histogram[i] = 0;
    __syncthreads();
    unsigned v = y[i];
    int steps = 0;
    for (unsigned c = v; c != 1 && steps < 1000; steps++) c = c & 1 ? 3 * c + 1 : c / 2;
    atomicAdd(&histogram[steps & 15], 1u);
    unsigned same = __match_any_sync(0xffffffffu, v & 3);
    unsigned odd = __ballot_sync(0xffffffffu, v & 1);
    int taller = __syncthreads_count(steps > 20);
    switch (v % 7) {
        case 0: x[i] = steps; break;
        case 1: x[i] = (long long)v * v / (n + 3); break;
        case 2: x[i] = -(long long)(v % 13); break;
        case 3: x[i] = __popc(v) + __clz(v); break;
        case 4: x[i] = __brev(v); break;
        case 5: x[i] = (long long)histogram[v & 15]; break;
        default: x[i] = __umulhi(v, 0x80000001u);
    }
    d[i] = sqrt((double)v) / 3.0 + exp(-(double)steps) + __shfl_xor_sync(0xffffffffu, (double)v, 3);
    y[i] = (same ^ odd) + taller;
}

__device__ __noinline__ float helper(float a, int* counter) {
    *counter += 1;
    return a > 0 ? a * 3 : a / 7;
}

extern "C" __global__ void calls(float* a, int* b) {
    int i = threadIdx.x;
    int counter = b[i];
    a[i] = helper(a[i], &counter) + helper(a[i] * 2, &counter);
    b[i] = counter;
}

#ifndef BASE
#include <cooperative_groups.h>
namespace cg = cooperative_groups;

// Sums x over a cluster of four CTAs; every CTA writes the total.
extern "C" __global__ void __cluster_dims__(4, 1, 1) cluster_sum(const float* x, float* y, int n) {
    extern __shared__ float dynamic[];
    cg::cluster_group cluster = cg::this_cluster();
    unsigned rank = cluster.block_rank();
    float v = 0;
    int step = blockDim.x * cluster.num_blocks();
    for (int i = threadIdx.x + rank * blockDim.x; i < n; i += step) v += x[i];
    dynamic[threadIdx.x] = v;
    cluster.sync();
    float total = 0;
    for (unsigned k = 0; k < cluster.num_blocks(); k++) {
        float* remote = cluster.map_shared_rank(dynamic, k);
        for (int i = 0; i < (int)blockDim.x; i++) total += remote[i];
    }
    cluster.sync();
    if (threadIdx.x == 0) y[blockIdx.x] = total;
}
#endif
