/* A barrier of all blocks of a grid: the function of the CUDA header of the same name. */
#ifndef TL_GRID_H
#define TL_GRID_H

#include "atomic.h"
#include "memory.h"
#include "sync.h"

extern "C" void tl_sync_grid(void);

#endif
