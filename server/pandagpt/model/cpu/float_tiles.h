// Products of float inputs with float or half weights, a tile of tokens at a time.
#pragma once

#include "panels.h"

// TILE tokens times a panel's two vectors, and the loads beside them, fill the vector registers.
#if defined(__AVX512F__)
constexpr int TILE = 12;
#else
constexpr int TILE = 6;
#endif

namespace {

typedef float quad __attribute__((vector_size(4 * sizeof(float))));

// Four rows of four numbers to columns.
inline void transpose(const float* from, size_t from_stride, float* to, size_t to_stride) {
  quad rows[4];
  for (int i = 0; i < 4; ++i) std::memcpy(&rows[i], from + i * from_stride, sizeof rows[i]);
  const quad a = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
  const quad b = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
  const quad c = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
  const quad d = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
  const quad columns[4] = {
      __builtin_shufflevector(a, c, 0, 1, 4, 5), __builtin_shufflevector(a, c, 2, 3, 6, 7),
      __builtin_shufflevector(b, d, 0, 1, 4, 5), __builtin_shufflevector(b, d, 2, 3, 6, 7)};
  for (int k = 0; k < 4; ++k) std::memcpy(to + k * to_stride, &columns[k], sizeof columns[k]);
}

// The inputs of a product, tile by tile [num_in][tokens of the tile]: they stand together. As rows,
// whose addresses often differ by a power of two, they would push each other out of the first cache.
struct Floats {
  static constexpr int TOKENS = TILE;
  const int num_in;
  Buffer<float> values;

  Floats(int m, int num_in) : num_in(num_in), values(size_t(m) * num_in) {}

  void take(const float* a, size_t start, int m) {
    const float* from = a + start * num_in;
    float* to = values.data() + start * num_in;
    const int fours = m / 4 * 4, whole = num_in / 4 * 4;
    for (int i = 0; i < fours; i += 4)
      for (int k = 0; k < whole; k += 4)
        transpose(from + size_t(i) * num_in + k, num_in, to + size_t(k) * m + i, m);
    for (int i = 0; i < m; ++i)
      for (int k = i < fours ? whole : 0; k < num_in; ++k)
        to[size_t(k) * m + i] = from[size_t(i) * num_in + k];
  }
};

// Panels as they are.
template <class W>
struct Widened {
  static constexpr bool is_used = false;

  Widened(int, int) {}
  const Panels<W>& of(const Panels<W>& panel) { return panel; }
};

// Half to float keeps the units for products waiting: before many tiles it is done once for all.
template <>
struct Widened<half> {
  static constexpr int FEWEST = 8;
  const bool is_used;
  Buffer<float> weights;

  Widened(int num_tiles, int num_in)
      : is_used(num_tiles >= FEWEST), weights(is_used ? size_t(num_in) * PANEL : 0) {}

  Panels<float> of(const Panels<half>& panel) {
    for (size_t i = 0; i < size_t(panel.num_in) * PANEL; i += LANES)
      store(weights.data() + i, load(panel.weights + i));
    return {weights.data(), nullptr, panel.num_in, panel.num_out, panel.column};
  }
};

// `m` tokens from `start` on times `panels` neighbouring panels, each sum in the order of the
// inputs; written to `c` [m][num_out], or added to it.
template <int m, int panels, class W>
void tile(const Floats& inputs, size_t start, const Panels<W>& b, float* c, bool add) {
  constexpr int vecs = 2 * panels;
  const size_t panel_size = size_t(b.num_in) * PANEL;
  const float* a = inputs.values.data() + start * b.num_in;
  vec sums[m][vecs] = {};
  for (int k = 0; k < b.num_in; ++k) {
    const W* weights = b.weights + size_t(k) * PANEL;
    // Weights beyond the caches stream in pages, at whose borders the processor stops looking ahead.
    if constexpr (m > 3) __builtin_prefetch(weights + AHEAD);
    vec w[vecs];
#pragma GCC unroll 16
    for (int v = 0; v < vecs; ++v) w[v] = load(weights + v / 2 * panel_size + v % 2 * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < m; ++i) {
      const float input = a[size_t(k) * m + i];
#pragma GCC unroll 16
      for (int v = 0; v < vecs; ++v) sums[i][v] += input * w[v];
    }
  }
  put(sums, b.column, b.num_out, add, c);
}

}  // namespace
