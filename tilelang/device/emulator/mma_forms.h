/* Forms of the matrix product: one line each, name, M, K, element formats of A, B and C (N is 8).
 * Included where TL_EMU_MMA says what to make of a line. `WrapInt` wraps around, `ClampInt` stops at
 * the ends of int32. */
TL_EMU_MMA(m16n8k8_f32_f16, 16, 8, Float16, Float16, Float32)
TL_EMU_MMA(m16n8k16_f32_f16, 16, 16, Float16, Float16, Float32)
TL_EMU_MMA(m16n8k8_f16_f16, 16, 8, Float16, Float16, Float16)
TL_EMU_MMA(m16n8k16_f16_f16, 16, 16, Float16, Float16, Float16)
TL_EMU_MMA(m16n8k8_f32_bf16, 16, 8, Bfloat16, Bfloat16, Float32)
TL_EMU_MMA(m16n8k16_f32_bf16, 16, 16, Bfloat16, Bfloat16, Float32)
TL_EMU_MMA(m16n8k4_f32_tf32, 16, 4, Tfloat32, Tfloat32, Float32)
TL_EMU_MMA(m16n8k8_f32_tf32, 16, 8, Tfloat32, Tfloat32, Float32)
TL_EMU_MMA(m8n8k4_f64_f64, 8, 4, Float64, Float64, Float64)
TL_EMU_MMA(m16n8k4_f64_f64, 16, 4, Float64, Float64, Float64)
TL_EMU_MMA(m16n8k8_f64_f64, 16, 8, Float64, Float64, Float64)
TL_EMU_MMA(m16n8k16_f64_f64, 16, 16, Float64, Float64, Float64)

#define TL_EMU_MMA_BYTES(shape, M, K)                                             \
  TL_EMU_MMA(shape##_s32_s8, M, K, Int8, Int8, WrapInt)                           \
  TL_EMU_MMA(shape##_s32_u8, M, K, Uint8, Uint8, WrapInt)                         \
  TL_EMU_MMA(shape##_s32_s8_u8, M, K, Int8, Uint8, WrapInt)                       \
  TL_EMU_MMA(shape##_s32_u8_s8, M, K, Uint8, Int8, WrapInt)                       \
  TL_EMU_MMA(shape##_s32_s8_satfinite, M, K, Int8, Int8, ClampInt)                \
  TL_EMU_MMA(shape##_s32_u8_satfinite, M, K, Uint8, Uint8, ClampInt)              \
  TL_EMU_MMA(shape##_s32_s8_u8_satfinite, M, K, Int8, Uint8, ClampInt)            \
  TL_EMU_MMA(shape##_s32_u8_s8_satfinite, M, K, Uint8, Int8, ClampInt)
TL_EMU_MMA_BYTES(m8n8k16, 8, 16)
TL_EMU_MMA_BYTES(m16n8k16, 16, 16)
TL_EMU_MMA_BYTES(m16n8k32, 16, 32)
#undef TL_EMU_MMA_BYTES

TL_EMU_MMA(m16n8k32_f32_e4m3, 16, 32, E4m3, E4m3, Float32)
TL_EMU_MMA(m16n8k32_f32_e5m2, 16, 32, E5m2, E5m2, Float32)
TL_EMU_MMA(m16n8k32_f32_e4m3_e5m2, 16, 32, E4m3, E5m2, Float32)
TL_EMU_MMA(m16n8k32_f32_e5m2_e4m3, 16, 32, E5m2, E4m3, Float32)
TL_EMU_MMA(m16n8k32_f16_e4m3, 16, 32, E4m3, E4m3, Float16)
TL_EMU_MMA(m16n8k32_f16_e5m2, 16, 32, E5m2, E5m2, Float16)
TL_EMU_MMA(m16n8k32_f16_e4m3_e5m2, 16, 32, E4m3, E5m2, Float16)
TL_EMU_MMA(m16n8k32_f16_e5m2_e4m3, 16, 32, E5m2, E4m3, Float16)
