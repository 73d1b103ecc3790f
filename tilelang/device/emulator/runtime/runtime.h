/* The runtime of emulated kernels as one translation unit: compiled once, without instrumentation,
 * and linked into each emulated library. */
#include "launch.h"
