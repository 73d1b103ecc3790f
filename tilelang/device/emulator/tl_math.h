/* The CUDA header of the same name as it is: all it calls is in `types.h` and `intrinsics.h`. */
#include "types.h"

#include "../cuda/tl_math.h"
