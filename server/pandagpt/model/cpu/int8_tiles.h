// Products of int8 inputs with int8 weights: GROUP inputs share a scale, in each row of a matrix and
// in each token, and the sums of a group's products are integers.
#pragma once

#include <algorithm>

#include "float_tiles.h"

// The words of four that a group is read in, and a tile's tokens, whose integer sums stand beside
// the float ones.
constexpr int GROUP = 32, WORDS = GROUP / 4, INT8_TILE = LANES / 2;

namespace {

// sums + w x, four neighbouring products a lane: bytes without sign times bytes with one.
inline ivec add_products(ivec sums, ivec w, int32_t x) {
#if defined(__AVX512VNNI__)
  return (ivec)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)w, _mm512_set1_epi32(x));
#elif defined(__AVX2__)
  typedef int16_t pairs __attribute__((vector_size(sizeof(ivec))));
  const pairs both = (pairs)(ivec{} + x);
  const pairs even = (both << 8) >> 8, odd = both >> 8;
  const ivec low = w & 0xff00ff, high = (w >> 8) & 0xff00ff;
#if defined(__AVX512BW__)
  sums += (ivec)_mm512_madd_epi16((__m512i)low, (__m512i)even);
  return sums + (ivec)_mm512_madd_epi16((__m512i)high, (__m512i)odd);
#else
  sums += (ivec)_mm256_madd_epi16((__m256i)low, (__m256i)even);
  return sums + (ivec)_mm256_madd_epi16((__m256i)high, (__m256i)odd);
#endif
#else
  for (int byte = 0; byte < 4; ++byte)
    sums += ((w >> 8 * byte) & 255) * int32_t(int8_t(uint32_t(x) >> 8 * byte));
  return sums;
#endif
}

// The nearest integer, of numbers far below 2^22.
inline ivec round_to_int(vec x) {
  vec shifted = x + 12582912.0f;  // 1.5 * 2^23: the last bits are the integer's
  ivec bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  return bits - 0x4b400000;
}

// GROUP numbers as integers times a scale.
struct Group {
  int8_t values[GROUP];
  float scale;
  int32_t sum;
};

// `count` numbers, filled up with zeros, as integers of at most 127 times a scale; the scale of
// what is no number is none either.
Group quantize(const float* from, int count) {
  float values[GROUP] = {};
  std::copy_n(from, count, values);
  ivec largest{};  // sizes in the order of their bits, in which NaN is above infinity
  for (int k = 0; k < GROUP; k += LANES) {
    ivec bits;
    std::memcpy(&bits, values + k, sizeof bits);
    bits &= 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  int32_t most_bits = 0;
  for (int i = 0; i < LANES; ++i) most_bits = std::max<int32_t>(most_bits, largest[i]);
  float most;
  std::memcpy(&most, &most_bits, sizeof most);
  Group group{};
  if (most < 1e-30f) return group;
  group.scale = most / 127;
  ivec total{};
  typedef int8_t narrow __attribute__((vector_size(LANES)));
  for (int k = 0; k < GROUP; k += LANES) {
    ivec whole = round_to_int(load(values + k) * (127 / most));
    narrow bytes = __builtin_convertvector(whole, narrow);
    std::memcpy(group.values + k, &bytes, sizeof bytes);
    total += whole;
  }
  for (int i = 0; i < LANES; ++i) group.sum += total[i];
  return group;
}

inline int groups_of(int num_in) { return (num_in + GROUP - 1) / GROUP; }

// Each token's groups have scales of their own. Weights are stored 128 too large; `starts` of the
// sums take that back.
template <>
struct Inputs<int8_t> {
  static constexpr int TOKENS = INT8_TILE;
  const int num_in, num_groups;
  Buffer<int32_t> words, starts;  // a word is four inputs
  Buffer<float> scales;

  Inputs(int m, int num_in)
      : num_in(num_in),
        num_groups(groups_of(num_in)),
        words(size_t(m) * num_groups * WORDS),
        starts(size_t(m) * num_groups),
        scales(size_t(m) * num_groups) {}

  void take(const float* a, size_t start, int m) {
    for (int i = 0; i < m; ++i)
      for (int g = 0; g < num_groups; ++g) {
        const int first = g * GROUP;
        const Group group =
            quantize(a + (start + i) * num_in + first, std::min(GROUP, num_in - first));
        const size_t place = start * num_groups + size_t(g) * m;
        starts.data()[place + i] = -128 * group.sum;
        scales.data()[place + i] = group.scale;
        for (int k = 0; k < WORDS; ++k)
          std::memcpy(words.data() + place * WORDS + k * m + i, group.values + 4 * k, 4);
      }
  }
};

template <int m, int panels>
void tile(const Inputs<int8_t>& inputs, size_t start, const Panels<int8_t>& b, float* c, bool add) {
  constexpr int vecs = 2 * panels;
  const int num_groups = inputs.num_groups;
  const size_t panel_size = size_t(num_groups) * GROUP * PANEL;
  const size_t place = start * num_groups;
  vec sums[m][vecs] = {};
  for (int g = 0; g < num_groups; ++g) {
    const int32_t* starts = inputs.starts.data() + place + size_t(g) * m;
    const float* input_scales = inputs.scales.data() + place + size_t(g) * m;
    const int32_t* words = inputs.words.data() + (place + size_t(g) * m) * WORDS;
    const int8_t* group = b.weights + size_t(g) * GROUP * PANEL;
    ivec counts[m][vecs];
#pragma GCC unroll 16
    for (int i = 0; i < m; ++i)
#pragma GCC unroll 16
      for (int v = 0; v < vecs; ++v) counts[i][v] = ivec{} + starts[i];
    for (int k = 0; k < WORDS; ++k) {
      if constexpr (m > 3)
        for (int v = 0; v < 2; ++v) __builtin_prefetch(group + (2 * k + v) * LANES * 4 + AHEAD);
      ivec w[vecs];
#pragma GCC unroll 16
      for (int v = 0; v < vecs; ++v)
        std::memcpy(&w[v], group + v / 2 * panel_size + (2 * k + v % 2) * LANES * 4, sizeof w[v]);
#pragma GCC unroll 16
      for (int i = 0; i < m; ++i)
#pragma GCC unroll 16
        for (int v = 0; v < vecs; ++v)
          counts[i][v] = add_products(counts[i][v], w[v], words[k * m + i]);
    }
#pragma GCC unroll 16
    for (int v = 0; v < vecs; ++v) {
      const vec scale = load(b.scales + (size_t(v / 2) * num_groups + g) * PANEL + v % 2 * LANES);
#pragma GCC unroll 16
      for (int i = 0; i < m; ++i)
        sums[i][v] += __builtin_convertvector(counts[i][v], vec) * (scale * input_scales[i]);
    }
  }
  put(sums, b.column, b.num_out, add, c);
}

}  // namespace
