// One module: the row kernel for one statistic, source, sink and element type, in both regimes. Which
// ones, a line of modules.txt says; the compiler is told by
//
//     WARPNORM_MODULE                              the name that the exported kernels begin with
//     WARPNORM_STATISTIC, _SOURCE, _SINK           templates of namespace warpnorm
//     WARPNORM_ACTIVATION_F32, _F16 or _BF16       the type of x and of what comes out in it
//     WARPNORM_PATH_ALIGNED, …                     the paths of row/args.cuh that have kernels of their own
#include "common/module_element.cuh"
#include "row/row_kernel.cuh"

#if !defined(WARPNORM_MODULE) || !defined(WARPNORM_STATISTIC) || !defined(WARPNORM_SOURCE) || !defined(WARPNORM_SINK)
#error "define WARPNORM_MODULE, WARPNORM_STATISTIC, WARPNORM_SOURCE and WARPNORM_SINK"
#endif

// Macros that are arguments are replaced before they are joined only where a second macro does the joining.
#define WARPNORM_JOIN(module, element, kernel) module##_##element##_##kernel
#define WARPNORM_NAME(module, element, kernel) WARPNORM_JOIN(module, element, kernel)

#define WARPNORM_KERNEL(name, threads, run)                                                     \
    extern "C" __global__ void __launch_bounds__(threads, 1)                                   \
        WARPNORM_NAME(WARPNORM_MODULE, WARPNORM_ELEMENT_NAME, name)(const __grid_constant__ RowArgs args) { \
        run(args);                                                                             \
    }
#define WARPNORM_LOOPED_KERNEL(name, path) \
    WARPNORM_KERNEL(name, Source::MAX_THREADS, (looped_row<Statistic, Source, Sink, path>))
#define WARPNORM_REGISTERS_KERNEL(name, path, threads)                               \
    WARPNORM_KERNEL(name, (resident_threads<Statistic, Source, Sink, path, threads>()), \
                    (registers_row<Statistic, Source, Sink, path, threads>))

// WARPNORM_WHERE(macro)(text) is the text where the macro is defined as 1, and nothing where it is not defined: of what
// then stands before a comma or not, the second argument is 1 or 0.
#define WARPNORM_PLACEHOLDER_1 0,
#define WARPNORM_SECOND(first, second, ...) second
#define WARPNORM_SECOND_OF(...) WARPNORM_SECOND(__VA_ARGS__)
#define WARPNORM_IS_1(value) WARPNORM_SECOND_OF(WARPNORM_PLACEHOLDER_##value 1, 0, 0)
#define WARPNORM_TEXT_0(...)
#define WARPNORM_TEXT_1(...) __VA_ARGS__
#define WARPNORM_TEXT_JOIN(is_defined) WARPNORM_TEXT_##is_defined
#define WARPNORM_TEXT(is_defined) WARPNORM_TEXT_JOIN(is_defined)
#define WARPNORM_WHERE(macro) WARPNORM_TEXT(WARPNORM_IS_1(macro))

// The kernels of a path that the module has.
#define WARPNORM_KERNELS(PATH, path)                                                                           \
    WARPNORM_WHERE(WARPNORM_PATH_##PATH)(WARPNORM_REGISTERS_KERNEL(path, Path::PATH, Threads::SINGLE))           \
    WARPNORM_WHERE(WARPNORM_PATH_##PATH##_LOOPED)(WARPNORM_LOOPED_KERNEL(path##_looped, Path::PATH))             \
    WARPNORM_WHERE(WARPNORM_PATH_##PATH##_PAIRED)                                                              \
    (WARPNORM_REGISTERS_KERNEL(path##_paired, Path::PATH, Threads::PAIRED))                                     \
    WARPNORM_WHERE(WARPNORM_PATH_##PATH##_PAIRED_LINES)                                                        \
    (WARPNORM_REGISTERS_KERNEL(path##_paired_lines, Path::PATH, Threads::PAIRED_LINES))                         \
    WARPNORM_WHERE(WARPNORM_PATH_##PATH##_PAIRED_FULL)                                                         \
    (WARPNORM_REGISTERS_KERNEL(path##_paired_full, Path::PATH, Threads::PAIRED_FULL))                           \
    WARPNORM_WHERE(WARPNORM_PATH_##PATH##_PAIRED_EVEN)                                                         \
    (WARPNORM_REGISTERS_KERNEL(path##_paired_even, Path::PATH, Threads::PAIRED_EVEN))                           \
    WARPNORM_WHERE(WARPNORM_PATH_##PATH##_PAIRED_LANES)                                                        \
    (WARPNORM_REGISTERS_KERNEL(path##_paired_lanes, Path::PATH, Threads::PAIRED_LANES))

namespace warpnorm {

using Element = WARPNORM_ELEMENT;
using Statistic = WARPNORM_STATISTIC<Element>;

using Source = WARPNORM_SOURCE<Element>;
using Sink = WARPNORM_SINK<Statistic, Element>;

WARPNORM_REGISTERS_KERNEL(registers, Path::GENERAL, Threads::SINGLE)
WARPNORM_LOOPED_KERNEL(looped, Path::GENERAL)
WARPNORM_KERNELS(ALIGNED, aligned)
WARPNORM_KERNELS(ALIGNED_ROUNDED, aligned_rounded)
WARPNORM_KERNELS(ALIGNED_WITH_OFFSET, aligned_with_offset)
WARPNORM_KERNELS(SHIFTED, shifted)

}  // namespace warpnorm
