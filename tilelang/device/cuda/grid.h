/* A barrier of all blocks of a grid.
 *
 *   tl_sync_grid()    every thread of every block; what was written before is seen after
 *
 * All blocks must run at the same time: the launch is cooperative. The state lies in the module, one
 * for all its kernels: launches of one module that meet here may not run side by side. */
#ifndef TL_GRID_H
#define TL_GRID_H

#include "atomic.h"
#include "memory.h"
#include "sync.h"

__device__ uint32_t tl_grid_arrived, tl_grid_generation;

/* The last block to arrive starts the next generation; nobody can leave a generation before all have
 * read its number. */
TL_INLINE void tl_sync_grid() {
  tl_sync_threads();
  if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
    const uint32_t blocks = gridDim.x * gridDim.y * gridDim.z;
    const uint32_t generation = tl_ld_acquire_gpu(&tl_grid_generation);
    tl_membar_gl();
    if (tl_atomic_add_uint32(&tl_grid_arrived, 1, __ATOMIC_ACQ_REL) == blocks - 1) {
      tl_atomic_store_uint32(&tl_grid_arrived, 0, __ATOMIC_RELAXED);
      tl_st_release_gpu(&tl_grid_generation, generation + 1);
    } else {
      while (tl_ld_acquire_gpu(&tl_grid_generation) == generation) {
      }
    }
    tl_membar_gl();
  }
  tl_sync_threads();
}

#endif
