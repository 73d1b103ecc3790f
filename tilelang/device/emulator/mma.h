/* Matrix products of one warp in registers: the functions of the CUDA header of the same name. */
#ifndef TL_MMA_H
#define TL_MMA_H

#include "types.h"

#define TL_EMU_MMA(name, M, K, A, B, C) \
  extern "C" void tl_mma_##name(void *d, const void *a, const void *b, const void *c);
#include "mma_forms.h"
#undef TL_EMU_MMA

#endif
