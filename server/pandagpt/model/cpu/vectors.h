// Vectors of floats, as wide as this machine's, and the functions on them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif

using half = _Float16;
typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t ivec __attribute__((vector_size(LANES * sizeof(int32_t))));

// The upper half of a float: its range, and seven bits after the point.
struct upper {
  uint16_t bits;
};

namespace {

// Room for numbers that are written before they are read: a vector would zero it at every step.
template <class T>
struct Buffer {
  std::unique_ptr<T[]> memory;

  explicit Buffer(size_t length) : memory(new T[length]) {}
  T* data() const { return memory.get(); }
};

template <class T>
inline vec splat(T value) {
  return vec{} + static_cast<float>(value);
}

inline vec load(const float* from) {
  vec to;
  std::memcpy(&to, from, sizeof to);
  return to;
}

inline void store(float* to, vec from) { std::memcpy(to, &from, sizeof from); }

#if defined(__AVX512F__)
inline vec load(const half* from) {
  return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from));
}
inline void store(half* to, vec from) {
  _mm256_storeu_si256((__m256i*)to, _mm512_cvtps_ph((__m512)from, _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__AVX2__) && defined(__F16C__)
inline vec load(const half* from) {
  return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from));
}
inline void store(half* to, vec from) {
  _mm_storeu_si128((__m128i*)to, _mm256_cvtps_ph((__m256)from, _MM_FROUND_TO_NEAREST_INT));
}
#else
inline vec load(const half* from) {
  typedef half narrow __attribute__((vector_size(LANES * sizeof(half))));
  narrow packed;
  std::memcpy(&packed, from, sizeof packed);
  return __builtin_convertvector(packed, vec);
}
inline void store(half* to, vec from) {
  typedef half narrow __attribute__((vector_size(LANES * sizeof(half))));
  narrow packed = __builtin_convertvector(from, narrow);
  std::memcpy(to, &packed, sizeof packed);
}
#endif

inline float widen(upper from) {
  const uint32_t bits = uint32_t(from.bits) << 16;
  float to;
  std::memcpy(&to, &bits, sizeof to);
  return to;
}

inline vec load(const upper* from) {
  typedef uint16_t narrow __attribute__((vector_size(LANES * sizeof(uint16_t))));
  narrow packed;
  std::memcpy(&packed, from, sizeof packed);
  return (vec)(__builtin_convertvector(packed, ivec) << 16);
}

inline float sum(vec v) {
  float lanes[LANES], total = 0;
  store(lanes, v);
  for (int step = LANES / 2; step; step /= 2)
    for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  return total + lanes[0];
}

// e^x within 2 units of the last place (Cephes' polynomial; 2^n by the exponent's bits).
inline vec exponential(vec x) {
  x = x < -87.0f ? splat(-87.0f) : x;
  x = x > 88.0f ? splat(88.0f) : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  vec n = (x * 1.44269504f + magic) - magic;
  vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  ivec exponent = (__builtin_convertvector(n, ivec) + 127) << 23;
  vec power;
  std::memcpy(&power, &exponent, sizeof power);
  return p * power;
}

inline float dot(const float* a, const float* b, int length) {
  vec total{};
  int i = 0;
  for (; i + LANES <= length; i += LANES) total += load(a + i) * load(b + i);
  float rest = sum(total);
  for (; i < length; ++i) rest += a[i] * b[i];
  return rest;
}

}  // namespace
