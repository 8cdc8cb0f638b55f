// Matrix products, and the packing of matrices for them.
//
// Every number of a token is summed in one fixed order, whatever else is in the batch.
#pragma once

#include <type_traits>

#include "float_tiles.h"
#include "integer_tiles.h"

namespace {

inline int panels_of(int num_out) { return (num_out + PANEL - 1) / PANEL; }

template <class W>
using Inputs = std::conditional_t<std::is_integral_v<W>, Integers<W>, Floats>;

template <class W>
Panels<W> panels_from(const Matrix& b, int first) {
  constexpr bool has_groups = std::is_integral_v<W>;
  const int num_groups = groups_of(b.num_in);
  const size_t size = size_t(has_groups ? num_groups * GROUP : b.num_in) * PANEL;
  const upper* scales = has_groups ? b.scales + size_t(first) * num_groups * PANEL : nullptr;
  return {static_cast<const W*>(b.data) + first * size, scales, b.num_in, b.num_out, first * PANEL};
}

// `tile` for a number of tokens that is known only now.
template <int panels, int most, class I, class W>
void tile_of(int m, const I& a, size_t start, const Panels<W>& b, float* c, bool add) {
  if (m == most) return tile<most, panels>(a, start, b, c, add);
  if constexpr (most > 1) tile_of<panels, most - 1>(m, a, start, b, c, add);
}

// The tokens of a batch, tile by tile.
struct Tiles {
  const int m, number;

  size_t start(int t) const { return size_t(m) * t / number; }
  int tokens(int t) const { return start(t + 1) - start(t); }
};

// c [m][num_out] = a [m][num_in] b^T, or added to it. Few tokens take several panels at once, so
// that enough sums are in flight to hide the latency of each.
template <class W>
void multiply(const float* a, int m, const Matrix& b, float* c, bool add, int num_threads) {
  constexpr int MOST = Inputs<W>::TOKENS;
  const int num_panels = panels_of(b.num_out), width = m == 1 ? 4 : m <= 3 ? 2 : 1;
  const Tiles tiles{m, (m + MOST - 1) / MOST};
  Inputs<W> inputs(m, b.num_in);
  for (int t = 0; t < tiles.number; ++t) inputs.take(a, tiles.start(t), tiles.tokens(t));
  const auto each_tile = [&](const auto& panel) {
    for (int t = 0; t < tiles.number; ++t) {
      const size_t start = tiles.start(t);
      tile_of<1, MOST>(tiles.tokens(t), inputs, start, panel, c + start * b.num_out, add);
    }
  };
#pragma omp parallel num_threads(num_threads) if (num_threads > 1)
  {
    Widened<W> widened(tiles.number, b.num_in);
#pragma omp for schedule(static)
    for (int first = 0; first < num_panels; first += width) {
      const Panels<W> panels = panels_from<W>(b, first);
      if (width == 4 && first + 4 <= num_panels)
        tile<1, 4>(inputs, 0, panels, c, add);
      else if (width == 2 && first + 2 <= num_panels)
        tile_of<2, 3>(m, inputs, 0, panels, c, add);
      else if (widened.is_used)
        each_tile(widened.of(panels));
      else
        for (int panel = first; panel < std::min(first + width, num_panels); ++panel)
          each_tile(panels_from<W>(b, panel));
    }
  }
}

void multiply(int32_t type, const float* a, int m, const Matrix& b, float* c, bool add,
              int num_threads) {
  switch (type) {
    case FLOAT: return multiply<float>(a, m, b, c, add, num_threads);
    case HALF: return multiply<half>(a, m, b, c, add, num_threads);
    case INT8: return multiply<int8_t>(a, m, b, c, add, num_threads);
    case INT16: return multiply<int16_t>(a, m, b, c, add, num_threads);
  }
}

template <class W>
void pack_as(const float* weights, int num_out, int num_in, W* to) {
  for (int panel = 0; panel * PANEL < num_out; ++panel)
    for (int k = 0; k < num_in; ++k)
      for (int j = 0; j < PANEL; ++j) {
        const int row = panel * PANEL + j;
        *to++ = static_cast<W>(row < num_out ? weights[size_t(row) * num_in + k] : 0.0f);
      }
}

template <class W>
void pack_integers(const float* weights, int num_out, int num_in, W* to, upper* scales) {
  constexpr int in_word = IN_WORD<W>;
  for (int panel = 0; panel * PANEL < num_out; ++panel)
    for (int first = 0; first < num_in; first += GROUP, to += GROUP * PANEL)
      for (int j = 0; j < PANEL; ++j) {
        const int row = panel * PANEL + j, count = std::min(GROUP, num_in - first);
        const Group<W> group = row < num_out
            ? quantize<W>(weights + size_t(row) * num_in + first, count) : Group<W>{};
        *scales++ = group.scale;
        for (int k = 0; k < GROUP; ++k)
          to[(k / in_word * PANEL + j) * in_word + k % in_word] =
              static_cast<W>(group.values[k] + OFFSET<W>);
      }
}

}  // namespace
