/* Checks of a sanitised kernel: indices inside their extents, elements written before they are read.
 *
 * Each check of the first kind gives whether the access may happen; on failure it has raised the fault
 * of the call. A shadow byte per smallest element of a storage says that it has been written. */
#ifndef TL_SANITIZE_H
#define TL_SANITIZE_H

#include "fault.h"

#define TL_CHECK static inline __attribute__((unused))

TL_FAULT_COLD int tl_report_index(tl_fault *fault, int64_t index, int64_t extent, int axis,
                                  const char *access, const char *where) {
  tl_fault_raise(fault, "%s: %s: index %lld is outside axis %d, which has %lld element%s", where,
                 access, (long long)index, axis, (long long)extent, extent == 1 ? "" : "s");
  return 0;
}

TL_FAULT_COLD int tl_report_unwritten(tl_fault *fault, int64_t element, const char *access,
                                      const char *where) {
  tl_fault_raise(fault, "%s: %s is read before anything has been written there (element %lld)",
                 where, access, (long long)element);
  return 0;
}

/* 0 <= index < extent. `access` is the expression in the user's program, `where` its file and line. */
TL_CHECK int tl_check_index(tl_fault *fault, int64_t index, int64_t extent, int axis,
                            const char *access, const char *where) {
  if (__builtin_expect((uint64_t)index < (uint64_t)extent, 1)) return 1;
  return tl_report_index(fault, index, extent, axis, access, where);
}

/* `count` shadow bytes are all set; they are those of element number `element` of the buffer. */
TL_CHECK int tl_check_written(tl_fault *fault, const void *shadow, int64_t count, int64_t element,
                              const char *access, const char *where) {
  int written = 1;
  for (int64_t i = 0; i < count; i++) written &= ((const uint8_t *)shadow)[i];
  return written ? 1 : tl_report_unwritten(fault, element, access, where);
}

TL_CHECK void tl_mark_written(void *shadow, int64_t count) { memset(shadow, 1, (size_t)count); }

TL_CHECK void tl_mark_unwritten(void *shadow, int64_t count) { memset(shadow, 0, (size_t)count); }

#endif
