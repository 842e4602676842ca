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

#define WARPNORM_KERNEL_OF(threads, name, run)                                                 \
    extern "C" __global__ void __launch_bounds__(threads, 1)                                   \
        WARPNORM_NAME(WARPNORM_MODULE, WARPNORM_ELEMENT_NAME, name)(const __grid_constant__ RowArgs args) { \
        run(args);                                                                             \
    }
#define WARPNORM_KERNEL(name, run) WARPNORM_KERNEL_OF(Source::MAX_THREADS, name, run)
#define WARPNORM_REGISTERS_KERNEL(name, path)                                \
    WARPNORM_KERNEL_OF(UNPAIRED_RESIDENT_THREADS<Source>, name, \
                       (registers_row<Statistic, Source, Sink, path, Threads::SINGLE>))
#define WARPNORM_PAIRED_KERNEL(name, path, threads)                                      \
    WARPNORM_KERNEL_OF((resident_threads<Statistic, Source, Sink, path, threads>()), name, \
                       (registers_row<Statistic, Source, Sink, path, threads>))

namespace warpnorm {

using Element = WARPNORM_ELEMENT;
using Statistic = WARPNORM_STATISTIC<Element>;

using Source = WARPNORM_SOURCE<Element>;
using Sink = WARPNORM_SINK<Statistic, Element>;

WARPNORM_REGISTERS_KERNEL(registers, Path::GENERAL)
WARPNORM_KERNEL(looped, (looped_row<Statistic, Source, Sink, Path::GENERAL>))
#ifdef WARPNORM_PATH_ALIGNED
WARPNORM_REGISTERS_KERNEL(aligned, Path::ALIGNED)
#endif
#ifdef WARPNORM_PATH_ALIGNED_LOOPED
WARPNORM_KERNEL(aligned_looped, (looped_row<Statistic, Source, Sink, Path::ALIGNED>))
#endif
#ifdef WARPNORM_PATH_ALIGNED_PAIRED
WARPNORM_PAIRED_KERNEL(aligned_paired, Path::ALIGNED, Threads::PAIRED)
#endif
#ifdef WARPNORM_PATH_ALIGNED_PAIRED_LINES
WARPNORM_PAIRED_KERNEL(aligned_paired_lines, Path::ALIGNED, Threads::PAIRED_LINES)
#endif
#ifdef WARPNORM_PATH_ALIGNED_PAIRED_FULL
WARPNORM_PAIRED_KERNEL(aligned_paired_full, Path::ALIGNED, Threads::PAIRED_FULL)
#endif
#ifdef WARPNORM_PATH_ALIGNED_PAIRED_LANES
WARPNORM_PAIRED_KERNEL(aligned_paired_lanes, Path::ALIGNED, Threads::PAIRED_LANES)
#endif
#ifdef WARPNORM_PATH_ALIGNED_ROUNDED
WARPNORM_REGISTERS_KERNEL(aligned_rounded, Path::ALIGNED_ROUNDED)
#endif
#ifdef WARPNORM_PATH_ALIGNED_ROUNDED_PAIRED
WARPNORM_PAIRED_KERNEL(aligned_rounded_paired, Path::ALIGNED_ROUNDED, Threads::PAIRED)
#endif
#ifdef WARPNORM_PATH_ALIGNED_ROUNDED_PAIRED_LINES
WARPNORM_PAIRED_KERNEL(aligned_rounded_paired_lines, Path::ALIGNED_ROUNDED, Threads::PAIRED_LINES)
#endif
#ifdef WARPNORM_PATH_ALIGNED_ROUNDED_PAIRED_FULL
WARPNORM_PAIRED_KERNEL(aligned_rounded_paired_full, Path::ALIGNED_ROUNDED, Threads::PAIRED_FULL)
#endif
#ifdef WARPNORM_PATH_ALIGNED_ROUNDED_PAIRED_LANES
WARPNORM_PAIRED_KERNEL(aligned_rounded_paired_lanes, Path::ALIGNED_ROUNDED, Threads::PAIRED_LANES)
#endif
#ifdef WARPNORM_PATH_ALIGNED_WITH_OFFSET
WARPNORM_REGISTERS_KERNEL(aligned_with_offset, Path::ALIGNED_WITH_OFFSET)
#endif
#ifdef WARPNORM_PATH_ALIGNED_WITH_OFFSET_PAIRED
WARPNORM_PAIRED_KERNEL(aligned_with_offset_paired, Path::ALIGNED_WITH_OFFSET, Threads::PAIRED)
#endif
#ifdef WARPNORM_PATH_ALIGNED_WITH_OFFSET_PAIRED_LINES
WARPNORM_PAIRED_KERNEL(aligned_with_offset_paired_lines, Path::ALIGNED_WITH_OFFSET, Threads::PAIRED_LINES)
#endif
#ifdef WARPNORM_PATH_ALIGNED_WITH_OFFSET_PAIRED_FULL
WARPNORM_PAIRED_KERNEL(aligned_with_offset_paired_full, Path::ALIGNED_WITH_OFFSET, Threads::PAIRED_FULL)
#endif
#ifdef WARPNORM_PATH_ALIGNED_WITH_OFFSET_PAIRED_LANES
WARPNORM_PAIRED_KERNEL(aligned_with_offset_paired_lanes, Path::ALIGNED_WITH_OFFSET, Threads::PAIRED_LANES)
#endif
#ifdef WARPNORM_PATH_SHIFTED_PAIRED
WARPNORM_PAIRED_KERNEL(shifted_paired, Path::SHIFTED, Threads::PAIRED)
#endif

}  // namespace warpnorm
