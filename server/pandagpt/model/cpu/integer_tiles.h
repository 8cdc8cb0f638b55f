// Products of integers: GROUP inputs share a scale, in each row of a matrix and in each token, and
// the sums of a group's products are whole numbers that an int32 holds.
//
// int8 is a quarter of a float. int16 stands for halves: about as exact, and processors that
// multiply pairs or fours of integers do so twice as fast as single floats.
#pragma once

#include <algorithm>

#include "float_tiles.h"

// A tile's tokens, whose integer sums stand beside the float ones.
constexpr int GROUP = 32, INTEGER_TILE = LANES / 2;

namespace {

// W is int8_t or int16_t. A word is the neighbouring numbers that a lane multiplies at once.
template <class W>
constexpr int IN_WORD = sizeof(int32_t) / sizeof(W);
template <class W>
constexpr int WORDS = GROUP / IN_WORD<W>;

// The largest numbers: GROUP products of two such stay below 2^31.
template <class W>
constexpr int LARGEST = sizeof(W) == 1 ? 127 : 8191;

// Weights are stored so much too large: bytes are multiplied without a sign times with one.
template <class W>
constexpr int OFFSET = sizeof(W) == 1 ? 128 : 0;

#if defined(__AVX2__)
constexpr bool HAS_PAIRS = true;
#else
constexpr bool HAS_PAIRS = false;
#endif

// sums + w x, two neighbouring products a lane.
inline ivec add_pairs(ivec sums, ivec w, ivec x) {
#if defined(__AVX512VNNI__)
  return (ivec)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)w, (__m512i)x);
#elif defined(__AVX512BW__)
  return sums + (ivec)_mm512_madd_epi16((__m512i)w, (__m512i)x);
#elif defined(__AVX2__)
  return sums + (ivec)_mm256_madd_epi16((__m256i)w, (__m256i)x);
#else
  return sums + (w << 16 >> 16) * (x << 16 >> 16) + (w >> 16) * (x >> 16);
#endif
}

// sums + w x, a word a lane.
template <class W>
ivec add_products(ivec sums, ivec w, int32_t x);

template <>
inline ivec add_products<int16_t>(ivec sums, ivec w, int32_t x) {
  return add_pairs(sums, w, ivec{} + x);
}

template <>
inline ivec add_products<int8_t>(ivec sums, ivec w, int32_t x) {
#if defined(__AVX512VNNI__)
  return (ivec)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)w, _mm512_set1_epi32(x));
#else
  typedef int16_t pairs __attribute__((vector_size(sizeof(ivec))));
  const pairs both = (pairs)(ivec{} + x);
  const ivec even = (ivec)((both << 8) >> 8), odd = (ivec)(both >> 8);
  return add_pairs(add_pairs(sums, w & 0xff00ff, even), (w >> 8) & 0xff00ff, odd);
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
template <class W>
struct Group {
  W values[GROUP];
  upper scale;
  int32_t sum;  // where there is an OFFSET
};

// The least that is not below `x`, which has no sign; of what is no number, none either.
inline upper round_up(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return {static_cast<uint16_t>(x != x ? 0x7fc0 : (bits + 0xffff) >> 16)};
}

// `count` numbers, filled up with zeros, as integers of at most LARGEST times a scale; the scale of
// what is no number is none either.
template <class W>
Group<W> quantize(const float* from, int count) {
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
  Group<W> group{};
  if (most < 1e-30f) return group;
  group.scale = round_up(most / LARGEST<W>);
  const float share = 1 / widen(group.scale);
  ivec total{};
  typedef W narrow __attribute__((vector_size(LANES * sizeof(W))));
  for (int k = 0; k < GROUP; k += LANES) {
    ivec whole = round_to_int(load(values + k) * share);
    narrow packed = __builtin_convertvector(whole, narrow);
    std::memcpy(group.values + k, &packed, sizeof packed);
    total += whole;
  }
  if constexpr (OFFSET<W> != 0)
    for (int i = 0; i < LANES; ++i) group.sum += total[i];
  return group;
}

inline int groups_of(int num_in) { return (num_in + GROUP - 1) / GROUP; }

// Each token's groups have scales of their own, and sums that start at what OFFSET adds too much.
template <class W>
struct Integers {
  static constexpr int TOKENS = INTEGER_TILE;
  const int num_in, num_groups;
  Buffer<int32_t> words, starts;
  Buffer<float> scales;

  Integers(int m, int num_in)
      : num_in(num_in),
        num_groups(groups_of(num_in)),
        words(size_t(m) * num_groups * WORDS<W>),
        starts(OFFSET<W> != 0 ? size_t(m) * num_groups : 0),
        scales(size_t(m) * num_groups) {}

  void take(const float* a, size_t start, int m) {
    for (int i = 0; i < m; ++i)
      for (int g = 0; g < num_groups; ++g) {
        const int first = g * GROUP;
        const Group<W> group =
            quantize<W>(a + (start + i) * num_in + first, std::min(GROUP, num_in - first));
        const size_t place = start * num_groups + size_t(g) * m;
        if constexpr (OFFSET<W> != 0) starts.data()[place + i] = -OFFSET<W> * group.sum;
        scales.data()[place + i] = widen(group.scale);
        for (int k = 0; k < WORDS<W>; ++k)
          std::memcpy(words.data() + place * WORDS<W> + k * m + i,
                      group.values + IN_WORD<W> * k, sizeof(int32_t));
      }
  }
};

template <int m, int panels, class W>
void tile(const Integers<W>& inputs, size_t start, const Panels<W>& b, float* c, bool add) {
  constexpr int vecs = 2 * panels, vec_size = LANES * IN_WORD<W>;
  const int num_groups = inputs.num_groups;
  const size_t panel_size = size_t(num_groups) * GROUP * PANEL;
  const size_t place = start * num_groups;
  vec sums[m][vecs] = {};
  for (int g = 0; g < num_groups; ++g) {
    const int32_t* starts = inputs.starts.data() + place + size_t(g) * m;
    const float* input_scales = inputs.scales.data() + place + size_t(g) * m;
    const int32_t* words = inputs.words.data() + (place + size_t(g) * m) * WORDS<W>;
    const W* group = b.weights + size_t(g) * GROUP * PANEL;
    ivec counts[m][vecs] = {};
    if constexpr (OFFSET<W> != 0)
#pragma GCC unroll 16
      for (int i = 0; i < m; ++i)
#pragma GCC unroll 16
        for (int v = 0; v < vecs; ++v) counts[i][v] += starts[i];
    for (int k = 0; k < WORDS<W>; ++k) {
      if constexpr (m > 3)
        for (int v = 0; v < 2; ++v) __builtin_prefetch(group + (2 * k + v) * vec_size + AHEAD);
      ivec w[vecs];
#pragma GCC unroll 16
      for (int v = 0; v < vecs; ++v)
        std::memcpy(&w[v], group + v / 2 * panel_size + (2 * k + v % 2) * vec_size, sizeof w[v]);
#pragma GCC unroll 16
      for (int i = 0; i < m; ++i)
#pragma GCC unroll 16
        for (int v = 0; v < vecs; ++v)
          counts[i][v] = add_products<W>(counts[i][v], w[v], words[k * m + i]);
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
