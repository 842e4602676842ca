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

/// Whether parameters are f32 beside activations of 16 bits.
__device__ __forceinline__ bool parameters_are_f32(const RowArgs& args, Path path) {
    return path == Path::GENERAL && args.flags & PARAMETERS_F32;
}

/// The address that so many strides, in elements, follow: where it is known that both are counted in 32 bits, the stride
/// in bytes. One instruction, which the compiler does not find by itself.
template <class Element>
__device__ __forceinline__ Address advanced(Address from, unsigned int count, unsigned long long stride) {
    const unsigned int bytes = static_cast<unsigned int>(stride) * sizeof(typename Element::Bits);
    Address address;
    asm("mad.wide.u32 %0, %1, %2, %3;" : "=l"(address) : "r"(count), "r"(bytes), "l"(from));
    return address;
}

/// Where a row begins in y, once that is kept rather than computed anew for every chunk: where registers are left for it.
struct KeptOutput {
    Address address = 0;
    bool is_kept = false;  // known when compiled

    __device__ __forceinline__ void keep(Address output) {
        address = output;
        asm volatile("" : "+l"(address));
        is_kept = true;
    }
};

/// A whole row.
struct WholeRow {
    static constexpr bool IS_PART = false;

    unsigned long long row;
    Path path;  // known when compiled
    KeptOutput output;

    __device__ __forceinline__ WholeRow(const RowArgs&, unsigned long long row, Path path) : row(row), path(path) {}

    template <class Element>
    __device__ __forceinline__ void keep_output(const RowArgs& args) {
        output.keep(y<Element>(args));
    }

    /// Where the row begins in a tensor.
    template <class Element>
    __device__ __forceinline__ Address at(const void* base, unsigned long long stride) const {
        if (path == Path::GENERAL) return row_address<Element>(base, row, stride);
        return advanced<Element>(address_of(base), static_cast<unsigned int>(row), stride);
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
        return output.is_kept ? output.address : at<Element>(args.y, args.y_stride);
    }
    template <class Element>
    __device__ __forceinline__ Parameters<Element> weight(const RowArgs& args) const {
        return Parameters<Element>(args.weight, parameters_are_f32(args, path));
    }
    template <class Element>
    __device__ __forceinline__ Parameters<Element> bias(const RowArgs& args) const {
        return Parameters<Element>(args.bias, parameters_are_f32(args, path));
    }
    /// The residual, where it takes the place of a bias.
    template <class Element>
    __device__ __forceinline__ Parameters<Element> residual(const RowArgs& args) const {
        return Parameters<Element>(args.residual, false, row * args.residual_stride);
    }
};

/// A head or a group of a row, or one of the heads beside them.
struct PartOfRow {
    static constexpr bool IS_PART = true;

    unsigned long long row;
    unsigned int part;  // of the row, or of its second heads
    bool second;
    Path path;  // known when compiled
    KeptOutput output;

    /// The part of this index among those of all rows.
    __device__ __forceinline__ PartOfRow(const RowArgs& args, unsigned long long index, Path path) : path(path) {
        const unsigned int parts = args.parts.count + args.parts.second;
        if (path == Path::GENERAL) {
            row = index / parts;
        } else {
            row = __umulhi(2 * static_cast<unsigned int>(index), args.parts.reciprocal) >> args.parts.reciprocal_shift;
        }
        part = static_cast<unsigned int>(index) - static_cast<unsigned int>(row) * parts;
        second = part >= args.parts.count;
        if (second) part -= args.parts.count;
    }

    template <class Element>
    __device__ __forceinline__ void keep_output(const RowArgs& args) {
        output.keep(y<Element>(args));
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
        if (output.is_kept) return output.address;
        const PartArgs& parts = args.parts;
        return second ? at<Element>(parts.second_y, parts.second_y_row_stride, parts.second_y_stride)
                      : at<Element>(args.y, args.y_stride, parts.y_stride);
    }
    template <class Element>
    __device__ __forceinline__ Parameters<Element> weight(const RowArgs& args) const {
        return parameters<Element>(second ? args.parts.second_weight : args.weight, args);
    }
    template <class Element>
    __device__ __forceinline__ Parameters<Element> bias(const RowArgs& args) const {
        return parameters<Element>(second ? args.parts.second_bias : args.bias, args);
    }

private:
    template <class Element>
    __device__ __forceinline__ Address at(const void* base, unsigned long long row_stride,
                                          unsigned long long stride) const {
        if (path == Path::GENERAL) {
            return address_of(base) + (row * row_stride + part * stride) * sizeof(typename Element::Bits);
        }
        const Address of_row = advanced<Element>(address_of(base), static_cast<unsigned int>(row), row_stride);
        return advanced<Element>(of_row, part, stride);
    }
    template <class Element>
    __device__ __forceinline__ Parameters<Element> parameters(const void* vector, const RowArgs& args) const {
        return Parameters<Element>(vector, parameters_are_f32(args, path), part * args.parts.parameter_stride);
    }
};

}  // namespace warpnorm
