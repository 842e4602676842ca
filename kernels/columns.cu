// One module: the kernel of columns for one element type. Which ones, a line of modules.txt says; the compiler is
// told by
//
//     WARPNORM_MODULE                              the name that the exported kernel begins with
//     WARPNORM_ACTIVATION_F32, _F16 or _BF16       the type of x
#include "columns/column_kernel.cuh"
#include "common/module_element.cuh"

#if !defined(WARPNORM_MODULE)
#error "define WARPNORM_MODULE"
#endif

// Macros that are arguments are replaced before they are joined only where a second macro does the joining.
#define WARPNORM_JOIN(module, element) module##_##element
#define WARPNORM_NAME(module, element) WARPNORM_JOIN(module, element)

namespace warpnorm {

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, 1)
    WARPNORM_NAME(WARPNORM_MODULE, WARPNORM_ELEMENT_NAME)(const __grid_constant__ ColumnArgs args) {
    reduce_columns<WARPNORM_ELEMENT>(args);
}

}  // namespace warpnorm
