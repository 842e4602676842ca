// The kernel of columns: one CTA takes a tile of columns through all rows and writes their statistics.
//
// A tile is TILE_CHUNKS chunks wide, a sector of 32 bytes of every row. A warp takes LINES rows at a time: two
// neighbouring lanes read a sector, the next two that of the next row. CTAs side by side walk down the rows at
// the same pace, so that the lines of a cache that they share are read from memory once.
//
// Which lane takes a row follows from the row's number alone, and so does the order in which lanes and then warps
// are merged: a column's results are the same bits in whatever matrix and place of it the column stands.
#pragma once

#include "../common/dependent_launch.cuh"
#include "args.cuh"
#include "moments.cuh"

namespace warpnorm {

/// Threads of a CTA. Those of 1024 had 64 registers, which eight columns of 16 bits with their moments in twice two
/// floats, and the rows in flight, do not fit.
constexpr unsigned int COLUMN_THREADS = 512;
constexpr unsigned int COLUMN_WARPS = COLUMN_THREADS / WARP;

/// Rows that a warp reads at a time.
constexpr unsigned int LINES = WARP / TILE_CHUNKS;

/// Rows that a CTA reads at a time.
constexpr unsigned int CTA_LINES = COLUMN_WARPS * LINES;

/// Rows that a thread has in flight.
constexpr unsigned int FLIGHT = 4;

template <class Element>
constexpr unsigned int TILE = TILE_CHUNKS * CHUNK<Element>;

/// A column of the tile by the lane that merges it in the end, where COLUMNS of a chunk were shared out among
/// lanes: see merge_lanes.
template <unsigned int COLUMNS>
__device__ __forceinline__ unsigned int column_of_lane(unsigned int lane) {
    return lane % TILE_CHUNKS * COLUMNS + lane / (WARP / COLUMNS);
}

/// The moments of every column, by warp.
template <unsigned int COLUMNS>
struct MomentSlots {
    float words[4][COLUMN_WARPS][COLUMNS];
    float rows[COLUMN_WARPS];

    __device__ __forceinline__ void put(unsigned int warp, unsigned int column, const ColumnMoments& moments) {
        words[0][warp][column] = moments.mean.hi;
        words[1][warp][column] = moments.mean.lo;
        words[2][warp][column] = moments.squares.hi;
        words[3][warp][column] = moments.squares.lo;
    }
    __device__ __forceinline__ ColumnMoments get(unsigned int warp, unsigned int column) const {
        return {{words[0][warp][column], words[1][warp][column]}, {words[2][warp][column], words[3][warp][column]}};
    }
};

/// Walks a thread's rows, every CTA_LINES-th from `from` on, `step` bytes apart, for the moments of its chunk.
template <class Element>
__device__ __forceinline__ void walk(ColumnMoments (&moments)[CHUNK<Element>], Address from, Address step,
                                     unsigned int rows, unsigned int valid, bool wide) {
#pragma unroll
    for (unsigned int c = 0; c < CHUNK<Element>; ++c) moments[c] = {{0.0f, 0.0f}, {0.0f, 0.0f}};
    unsigned int taken = 0;
    while (rows - taken >= FLIGHT) {
        RawChunk raw[FLIGHT];
#pragma unroll
        for (unsigned int r = 0; r < FLIGHT; ++r) raw[r] = load_chunk<Element>(from + r * step, valid, wide);
        from += FLIGHT * step;
        if (taken == 0) begin<Element>(moments, raw);
        taken += FLIGHT;
        take<Element>(moments, raw, __frcp_rn(__uint2float_rn(taken)));
    }
#pragma unroll 1
    while (taken < rows) {
        const RawChunk raw[1] = {load_chunk<Element>(from, valid, wide)};
        from += step;
        if (taken == 0) begin<Element>(moments, raw);
        taken += 1;
        take<Element>(moments, raw, __frcp_rn(__uint2float_rn(taken)));
    }
}

/// An element of γ or β.
template <class Element>
__device__ __forceinline__ float parameter(const void* vector, unsigned int column, const ColumnArgs& args) {
    if constexpr (!Element::IS_F32) {
        if (!(args.flags & COLUMNS_PARAMETERS_F32)) {
            return Element::widen(load_16(address_of(vector) + column * 2ull));
        }
    }
    return load_f32(address_of(vector) + column * 4ull);
}

/// The product rounded once; plain where it is not finite, since two floats hold no infinity.
__device__ __forceinline__ float rounded_product(const TwoFloat& a, float b) {
    const TwoFloat product = multiply(a, b);
    return isfinite(product.hi) ? product.hi + product.lo : product.hi;
}

/// mean, rstd, and what they fold to: y = x·scale + shift. scale is rounded before it goes into shift, so that
/// beside a large mean the two belong together.
template <class Element>
__device__ __forceinline__ void store_column(const ColumnMoments& moments, unsigned int column,
                                             const ColumnArgs& args) {
    const float rows = __ull2float_rn(args.rows);
    TwoFloat variance = {moments.squares.hi, 0.0f};
    if (!isinf(moments.squares.hi)) variance = quotient(moments.squares, rows, __frcp_rn(rows));
    // Rounding can leave denormal squares a little below zero; written so that NaN stays NaN.
    if (variance.hi < 0.0f) variance = {0.0f, 0.0f};
    const TwoFloat rstd = rstd_of(variance, args.eps);

    const unsigned long long offset = column * 4ull;
    if (args.mean != nullptr) store_f32(address_of(args.mean) + offset, moments.mean.hi + moments.mean.lo);
    if (args.rstd != nullptr) store_f32(address_of(args.rstd) + offset, rstd.hi);
    if (args.scale == nullptr && args.shift == nullptr) return;

    const float weight = args.weight != nullptr ? parameter<Element>(args.weight, column, args) : 1.0f;
    const float scale = rounded_product(rstd, weight);
    if (args.scale != nullptr) store_f32(address_of(args.scale) + offset, scale);
    if (args.shift == nullptr) return;
    const float bias = args.bias != nullptr ? parameter<Element>(args.bias, column, args) : 0.0f;
    const TwoFloat product = multiply(moments.mean, scale);
    const TwoFloat sum = two_sum(bias, -product.hi);
    float shift = sum.hi + (sum.lo - product.lo);
    if (!isfinite(sum.hi)) shift = bias - (moments.mean.hi + moments.mean.lo) * scale;
    store_f32(address_of(args.shift) + offset, shift);
}

template <class Element>
__device__ __forceinline__ void reduce_columns(const ColumnArgs& args) {
    constexpr unsigned int COLUMNS = CHUNK<Element>;
    launch_dependents();
    wait_for_prerequisites();
    __shared__ MomentSlots<TILE<Element>> slots;
    const unsigned int warp = threadIdx.x / WARP;
    const unsigned int lane = threadIdx.x % WARP;

    // A lane's chunk of the rows `line`, `line` + CTA_LINES, and so on.
    const unsigned int line = warp * LINES + lane / TILE_CHUNKS;
    const unsigned int first = blockIdx.x * TILE<Element> + lane % TILE_CHUNKS * COLUMNS;
    const unsigned int valid = first < args.hidden ? min(args.hidden - first, COLUMNS) : 0;
    const Address stride = args.x_stride * sizeof(typename Element::Bits);
    const Address offset = first * static_cast<Address>(sizeof(typename Element::Bits));
    const Address from = address_of(args.x) + line * stride + offset;
    const unsigned int taken = static_cast<unsigned int>(args.rows / CTA_LINES) + (line < args.rows % CTA_LINES);
    ColumnMoments moments[COLUMNS];
    walk<Element>(moments, from, CTA_LINES * stride, taken, valid, args.flags & COLUMNS_WIDE_X);

    // Then one column of the warp's rows; where there are fewer columns than lanes, several lanes hold the same.
    float rows = __uint2float_rn(taken);
    merge_lanes<COLUMNS>(moments, rows, lane);
    if ((lane & (WARP / COLUMNS - 1) & ~(TILE_CHUNKS - 1)) == 0) {
        slots.put(warp, column_of_lane<COLUMNS>(lane), moments[0]);
    }
    if (lane == 0) slots.rows[warp] = rows;
    __syncthreads();
    if (warp != 0) return;

    // Lane l takes column l % TILE of every PARTS-th warp, the first l / TILE.
    constexpr unsigned int PARTS = WARP / TILE<Element>;
    const unsigned int place = lane % TILE<Element>;
    const unsigned int part = lane / TILE<Element>;
    ColumnMoments column = slots.get(part, place);
    rows = slots.rows[part];
#pragma unroll 1
    for (unsigned int w = part + PARTS; w < COLUMN_WARPS; w += PARTS) {
        column = merged(column, slots.get(w, place), Shares(rows, slots.rows[w]));
        rows += slots.rows[w];
    }
#pragma unroll 1
    for (unsigned int distance = TILE<Element>; distance < WARP; distance *= 2) {
        const Exchange exchange(rows, distance, lane & distance);
        column = exchange.merged(column, column);
        rows = exchange.rows;
    }
    const unsigned int at = blockIdx.x * TILE<Element> + place;
    if (part == 0 && at < args.hidden) store_column<Element>(column, at, args);
}

}  // namespace warpnorm
