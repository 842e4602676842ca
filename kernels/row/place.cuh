// Places: where a row, or a part of one, lies in each tensor of a launch.
#pragma once

#include "args.cuh"
#include "parameters.cuh"

namespace warpnorm {

/// Where a row of a strided tensor begins.
template <class Element>
__device__ __forceinline__ Address row_address(const void* base, unsigned long long row,
                                               unsigned long long stride) {
    return address_of(base) + row * stride * sizeof(typename Element::Bits);
}

/// A whole row.
struct WholeRow {
    static constexpr bool IS_PART = false;

    unsigned long long row;
    Path path = Path::GENERAL;  // known when compiled
    Address output = 0;         // where it begins in y, once that is kept
    bool keeps_output = false;  // known when compiled

    __device__ __forceinline__ WholeRow(const RowArgs&, unsigned long long row) : row(row) {}

    /// Keeps where it begins in y, rather than have it computed anew for every chunk: where registers are left for it.
    template <class Element>
    __device__ __forceinline__ void keep_output(const RowArgs& args) {
        output = y<Element>(args);
        asm volatile("" : "+l"(output));
        keeps_output = true;
    }

    /// Where the row begins in a tensor.
    template <class Element>
    __device__ __forceinline__ Address at(const void* base, unsigned long long stride) const {
        if (path == Path::GENERAL) return row_address<Element>(base, row, stride);
        // One instruction, which the compiler does not find by itself.
        const unsigned int bytes = static_cast<unsigned int>(stride) * sizeof(typename Element::Bits);
        Address address;
        asm("mad.wide.u32 %0, %1, %2, %3;"
            : "=l"(address)
            : "r"(static_cast<unsigned int>(row)), "r"(bytes), "l"(address_of(base)));
        return address;
    }
    template <class Element>
    __device__ __forceinline__ Address x(const RowArgs& args) const {
        return at<Element>(args.x, args.x_stride);
    }
    template <class Element>
    __device__ __forceinline__ Address gate(const RowArgs& args) const {
        return at<Element>(args.gate, args.gate_stride);
    }
    template <class Element>
    __device__ __forceinline__ Address y(const RowArgs& args) const {
        return keeps_output ? output : at<Element>(args.y, args.y_stride);
    }
    template <class Element>
    __device__ __forceinline__ Parameters<Element> weight(const RowArgs& args) const {
        const bool has_offset = path == Path::GENERAL || path == Path::ALIGNED_WITH_OFFSET;
        return Parameters<Element>(args.weight, parameters_are_f32(args), 0, has_offset ? args.weight_offset : 0.0f);
    }
    template <class Element>
    __device__ __forceinline__ Parameters<Element> bias(const RowArgs& args) const {
        return Parameters<Element>(args.bias, parameters_are_f32(args));
    }
    /// The residual, where it takes the place of a bias.
    template <class Element>
    __device__ __forceinline__ Parameters<Element> residual(const RowArgs& args) const {
        return Parameters<Element>(args.residual, false, row * args.residual_stride);
    }

private:
    __device__ __forceinline__ bool parameters_are_f32(const RowArgs& args) const {
        return path == Path::GENERAL && args.flags & PARAMETERS_F32;
    }
};

/// A head or a group of a row, or one of the heads beside them.
struct PartOfRow {
    static constexpr bool IS_PART = true;

    unsigned long long index;  // among the parts of all rows
    unsigned long long row;
    unsigned int part;  // of the row, or of its second heads
    bool second;

    __device__ __forceinline__ PartOfRow(const RowArgs& args, unsigned long long index) : index(index) {
        const unsigned int parts = args.parts.count + args.parts.second;
        row = index / parts;
        part = static_cast<unsigned int>(index - row * parts);
        second = part >= args.parts.count;
        if (second) part -= args.parts.count;
    }

    template <class Element>
    __device__ __forceinline__ Address x(const RowArgs& args) const {
        const PartArgs& parts = args.parts;
        return second ? at<Element>(parts.second_x, parts.second_x_row_stride, parts.second_x_stride)
                      : at<Element>(args.x, args.x_stride, parts.x_stride);
    }
    template <class Element>
    __device__ __forceinline__ Address gate(const RowArgs& args) const {
        return at<Element>(args.gate, args.gate_stride, args.parts.gate_stride);
    }
    template <class Element>
    __device__ __forceinline__ Address y(const RowArgs& args) const {
        const PartArgs& parts = args.parts;
        return second ? at<Element>(parts.second_y, parts.second_y_row_stride, parts.second_y_stride)
                      : at<Element>(args.y, args.y_stride, parts.y_stride);
    }
    template <class Element>
    __device__ __forceinline__ Parameters<Element> weight(const RowArgs& args) const {
        return parameters<Element>(second ? args.parts.second_weight : args.weight, args, args.weight_offset);
    }
    template <class Element>
    __device__ __forceinline__ Parameters<Element> bias(const RowArgs& args) const {
        return parameters<Element>(second ? args.parts.second_bias : args.bias, args, 0.0f);
    }

private:
    template <class Element>
    __device__ __forceinline__ Address at(const void* base, unsigned long long row_stride,
                                          unsigned long long stride) const {
        return address_of(base) + (row * row_stride + part * stride) * sizeof(typename Element::Bits);
    }
    template <class Element>
    __device__ __forceinline__ Parameters<Element> parameters(const void* vector, const RowArgs& args,
                                                              float offset) const {
        return Parameters<Element>(vector, args.flags & PARAMETERS_F32, part * args.parts.parameter_stride, offset);
    }
};

}  // namespace warpnorm
