// One module: the row kernel for one statistic, source, sink and element type, in both regimes. Which
// ones, a line of modules.txt says; the compiler is told by
//
//     WARPNORM_MODULE                              the name that the exported kernels begin with
//     WARPNORM_STATISTIC, _SOURCE, _SINK           templates of namespace warpnorm
//     WARPNORM_ACTIVATION_F32, _F16 or _BF16       the type of x and of what comes out in it
#include "common/module_element.cuh"
#include "row/row_kernel.cuh"

#if !defined(WARPNORM_MODULE) || !defined(WARPNORM_STATISTIC) || !defined(WARPNORM_SOURCE) || !defined(WARPNORM_SINK)
#error "define WARPNORM_MODULE, WARPNORM_STATISTIC, WARPNORM_SOURCE and WARPNORM_SINK"
#endif

// Macros that are arguments are replaced before they are joined only where a second macro does the joining.
#define WARPNORM_JOIN(module, element, regime) module##_##element##_##regime
#define WARPNORM_NAME(module, element, regime) WARPNORM_JOIN(module, element, regime)

#define WARPNORM_KERNEL(regime)                                                                \
    extern "C" __global__ void __launch_bounds__(WARPNORM_SOURCE<Element>::MAX_THREADS, 1)         \
        WARPNORM_NAME(WARPNORM_MODULE, WARPNORM_ELEMENT_NAME,                                  \
                      regime)(const __grid_constant__ RowArgs args) {                          \
        regime##_row<Statistic, WARPNORM_SOURCE<Element>, WARPNORM_SINK<Statistic, Element>>(args); \
    }

namespace warpnorm {

using Element = WARPNORM_ELEMENT;
using Statistic = WARPNORM_STATISTIC<Element>;

WARPNORM_KERNEL(registers)
WARPNORM_KERNEL(looped)

}  // namespace warpnorm
